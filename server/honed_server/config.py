"""Settings: flags over `HONED_*` environment over `honed.toml` over defaults."""

import argparse
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from honed_adapt.feedback.redaction import Redactable, redact
from honed_adapt.gate.policy import Policy

_PREFIX = "HONED_"
# Environment variables that are not settings of the server.
_OTHER_VARIABLES = {"HONED_DATA", "HONED_TARGET", "HONED_CONFIG"}


class ConfigError(Exception):
    """A setting is unknown or wrong; the message names it and what is allowed."""


class ServerConfig(BaseModel):
    """All settings of `honed serve`. Frozen; validated at construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Path = Field(
        Path("~/.local/share/honed"), description="Data folder: stores, encoders, versions."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; loopback only.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8790, description="Port of gRPC; 0 takes a free one."
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8791, description="Port of metrics and health over HTTP; 0 takes a free one."
    )
    example: bool = Field(True, description="Create the example model `support` in an empty home.")
    encoder: Path | None = Field(
        None, description="Folder of the default encoder; default: the MiniLM package."
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        len(os.sched_getaffinity(0)),
        description="Engine threads, one per CPU core; on GPUs there are two for each.",
    )
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most tokens in a batch; default: as measured at the start."
    )
    min_batch_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Batches below this are not split between workers; default: as measured.",
    )
    max_queued_requests: Annotated[int, Field(ge=1)] = Field(
        1024, description="Most requests that wait or run."
    )
    max_queued_tokens: Annotated[int, Field(ge=1)] = Field(
        262_144, description="Most tokens that wait or run."
    )
    default_deadline_ms: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Deadline of calls that send none."
    )
    drain_ms: Annotated[int, Field(ge=0)] = Field(
        10_000, description="Longest time that shutting down waits for calls in flight."
    )
    ready_ms: Annotated[int, Field(ge=0)] = Field(
        5_000, description="Longest time that starting waits for learning to catch up."
    )
    max_checkpoint_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        4 << 30, description="Most bytes of a checkpoint that a client may send."
    )
    store_texts: bool = Field(True, description="Keep texts in the prediction log on disk.")
    prediction_log_days: Annotated[float, Field(gt=0)] = Field(
        7.0, description="Days that predictions are kept."
    )
    prediction_log_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        1 << 30, description="Most bytes of the prediction log."
    )
    adapt: bool = Field(True, description="Run the adapt process.")
    adapt_nice: Annotated[int, Field(ge=0, le=19)] = Field(
        19, description="Niceness of the adapt process and of what it starts."
    )
    adapt_memory_mb: Annotated[int, Field(ge=0)] = Field(
        1_024,
        description="Memory for what models learn with, in MiB, 256 for one with 512 labels or "
        "more; the matrices of those that were idle for longest are on disk beyond that.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where encoders run; auto: on NVIDIA GPUs if there are any."
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto",
        description="On a CPU, auto: 8-bit integers for models that lose nothing by it, shown with "
        "held-out labels; fp32: never. On a GPU, auto: fp16, unless an encoder leaves its range.",
    )
    embedding_cache_mb: Annotated[int, Field(ge=0)] = Field(
        0, description="Memory for vectors of recent texts, in MiB; 0 keeps none."
    )
    anchor_guard_items: Annotated[int, Field(ge=0)] = Field(
        2, description="Anchor answers that learning may lose before labels are quarantined."
    )
    checkpoint_revisions: Annotated[int, Field(ge=1)] = Field(
        500, description="Revisions after which the serving head becomes a version."
    )
    drift_interval_ms: Annotated[int, Field(ge=0)] = Field(
        1_000, description="Least time between two texts of a model that the drift test looks at."
    )
    submitter_trust: dict[str, float] = Field(
        {}, description="Trust by submitter, default 1; the most trusted label of a text counts."
    )
    influence_cap: Annotated[float, Field(gt=0, le=1)] = Field(
        0.05,
        description="Share of a model's recent weight, and of a trial's votes, that one submitter "
        "may have once there are enough others; 1 caps nobody.",
    )
    labels_per_minute: Annotated[float, Field(gt=0)] = Field(
        600_000.0, description="Labels a minute that are taken from each submitter."
    )
    forget_deadline_days: Annotated[float, Field(ge=0)] = Field(
        30.0,
        description="Days after which no version serves whose encoder was trained on feedback that "
        "was deleted.",
    )
    keep_feedback_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Days that texts of labels are kept; default: for ever."
    )
    redact: list[Redactable] = Field(
        [],
        description="What is taken out of texts before they are stored: email, phone, card, iban.",
    )
    policy: dict[str, Any] = Field(
        {},
        description="Policy of models that were given none: promotion=manual,alpha=0.01; see "
        "`honed policy set --help`.",
    )
    max_encoders: Annotated[int, Field(ge=1)] = Field(
        8,
        description="Encoders in service, with those that fine-tuning rounds under way may add, "
        "from which on no other round starts; each is in memory and on disk.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log lines for people or machines; auto: console on a terminal."
    )

    @property
    def trusted(self) -> frozenset[str]:
        """Submitters who are trusted as much as anybody, or more."""
        return frozenset(name for name, trust in self.submitter_trust.items() if trust >= 1)

    @property
    def redactor(self) -> Callable[[str], str]:
        """Takes out of a text what shall not be stored."""
        return partial(redact, kinds=self.redact) if self.redact else str

    @field_validator("home", "encoder")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("host")
    @classmethod
    def _loopback(cls, value: str) -> str:
        try:
            loopback = value == "localhost" or ip_address(value).is_loopback
        except ValueError as error:
            raise ValueError("must be an IP address or localhost") from error
        if not loopback:
            raise ValueError(
                "only loopback addresses are allowed: this version has neither TLS nor "
                "authentication; put a proxy that has both in front"
            )
        return value

    @field_validator("policy")
    @classmethod
    def _followable(cls, value: dict[str, Any]) -> dict[str, Any]:
        return Policy.of(value).as_dict() if value else value

    @model_validator(mode="after")
    def _budgets(self) -> "ServerConfig":
        least, most = self.min_batch_tokens, self.max_batch_tokens
        if least is not None and most is not None and least > most:
            raise ValueError("min_batch_tokens must not exceed max_batch_tokens")
        return self


def load_config(argv: Sequence[str], environment: Mapping[str, str]) -> ServerConfig:
    """The settings that these flags, this environment and the TOML file amount to.

    The file is `--config`, else HONED_CONFIG, else `honed.toml` in the working folder if present.

    Raises:
        ConfigError: Unknown key (with the nearest known one) or wrong value.
    """
    return explain_config(argv, environment)[0]


def explain_config(
    argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[ServerConfig, dict[str, str]]:
    """As `load_config`, and the source of each setting that is not a default.

    A source is "file", "environment" or "flags".
    """
    known, unknown = _parser().parse_known_args(argv)
    for argument in unknown:
        if argument.startswith("--"):
            _check_known(argument[2:].partition("=")[0].replace("-", "_"), "flags")
        raise ConfigError(f"unexpected argument {argument!r}; see honed serve --help")
    flags = vars(known)
    named = flags.pop("config", None) or environment.get("HONED_CONFIG")
    from_file = _read_toml(Path(named or "honed.toml"), required=named is not None)
    from_environment = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(_PREFIX) and name not in _OTHER_VARIABLES
    }
    sources = {"file": from_file, "environment": from_environment, "flags": flags}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, settings in sources.items():
        for key, value in settings.items():
            _check_known(key, source)
            values[key], origins[key] = _parsed(key, value), source
    try:
        return ServerConfig(**values), origins
    except ValidationError as error:
        raise ConfigError("; ".join(_problem(fault) for fault in error.errors())) from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see honed serve --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="honed serve", allow_abbrev=False)
    parser.add_argument("--config", help="TOML file with these settings")
    for name, item in ServerConfig.model_fields.items():
        flag = "--" + name.replace("_", "-")
        text = f"{item.description} Default: {item.default}."
        if item.annotation is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            parser.add_argument(flag, default=argparse.SUPPRESS, help=text.replace("%", "%%"))
    return parser


def _read_toml(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if required:
            raise ConfigError(f"there is no file {path}") from error
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _check_known(key: str, source: str) -> None:
    if key in ServerConfig.model_fields:
        return
    close = get_close_matches(key, list(ServerConfig.model_fields), n=1)
    shown = f"{_PREFIX}{key.upper()}" if source == "environment" else key
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"unknown setting {shown!r} in the {source}{hint}")


def _parsed(key: str, value: Any) -> Any:
    """Text from flags and environment becomes a table, `a=1,b=0.5`, or a list, `a,b`."""
    if isinstance(value, str) and get_origin(ServerConfig.model_fields[key].annotation) is dict:
        pairs = (pair.partition("=") for pair in value.split(",") if pair)
        return {name.strip(): number for name, _, number in pairs}
    if isinstance(value, str) and get_origin(ServerConfig.model_fields[key].annotation) is list:
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _problem(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "settings"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')} (got {fault['input']!r})"
