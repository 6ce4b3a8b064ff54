"""What a Hugging Face checkpoint says of itself: sizes, settings, and where its tensors lie.

It stands at the start of an encoder's life: `encoder_store.py` reads a checkpoint with it, and
`graph.py` turns what it says into a graph. No weight is loaded here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

Pooling = Literal["mean", "cls"]

WORD_TABLE = "embeddings.word_embeddings.weight"
SOURCES = ("model.safetensors", "tokenizer.json", "config.json")

# What transformers assumes where a BERT's config.json is silent.
_DEFAULTS = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
_SERVED = {"model_type": "bert", **_DEFAULTS}

_DEFAULT_POOLING: Pooling = "mean"
_DEFAULT_MAX_TOKENS = 256
_MODE = "pooling_mode_"
_POOLING_MODES: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}


class EncoderUnsupported(ValueError):
    """Honed cannot serve this checkpoint; the message names what stands against it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where one tensor lies in a safetensors file.

    Attributes:
        dtype: as safetensors writes it, such as "F32".
        shape: its dimensions.
        offset: its first byte, counted from the start of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of a BERT encoder (post-LN, absolute positions, exact GELU).

    Attributes:
        layers: number of layers.
        heads: attention heads per layer; divides `hidden`.
        hidden: length of a token's vector.
        intermediate: width of the feed-forward part.
        positions: rows of the position table, so the most tokens a text may have.
        epsilon: added to the variance in each layer norm.
    """

    layers: int
    heads: int
    hidden: int
    intermediate: int
    positions: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, object]) -> "BertShape":
        """Read a parsed `config.json`.

        Raises:
            EncoderUnsupported: naming the setting that Honed has no graph for.
        """
        for name, served in _SERVED.items():
            value = config.get(name, _DEFAULTS.get(name))
            if value != served:
                raise EncoderUnsupported(
                    f"config.json: {name} is {value!r}; Honed serves {served!r} only"
                )
        shape = cls(
            layers=_count(config, "num_hidden_layers"),
            heads=_count(config, "num_attention_heads"),
            hidden=_count(config, "hidden_size"),
            intermediate=_count(config, "intermediate_size"),
            positions=_count(config, "max_position_embeddings"),
            epsilon=_epsilon(config),
        )
        if shape.hidden % shape.heads:
            raise EncoderUnsupported(
                f"config.json: hidden_size {shape.hidden} does not divide by {shape.heads} heads"
            )
        return shape


@dataclass(frozen=True, slots=True)
class Settings:
    """How token vectors become a text's vector, and how long a text may be.

    Attributes:
        pooling: mean over the text's tokens, or the first token's vector.
        normalise: whether vectors get length 1.
        max_tokens: longer texts are cut, special tokens included.
    """

    pooling: Pooling
    normalise: bool
    max_tokens: int


def read_source(source: Path) -> tuple[Path, Settings]:
    """The folder that holds the checkpoint's own files, and the settings around it.

    Args:
        source: a folder as sentence-transformers writes it, or as transformers does (then mean
            pooling, vectors of length 1, at most 256 tokens).

    Raises:
        EncoderUnsupported: naming the file that is missing or asks for what Honed cannot do.
    """
    checkpoint, pooling, normalise = source, _DEFAULT_POOLING, True
    if (source / "modules.json").is_file():
        modules = _read_modules(source)
        checkpoint, normalise = modules["Transformer"], "Normalize" in modules
        pooling = _read_pooling(modules["Pooling"] / "config.json")
    for name in SOURCES:
        if not (checkpoint / name).is_file():
            raise EncoderUnsupported(f"{checkpoint} lacks {name}")
    positions = BertShape.of(read_json(checkpoint / "config.json")).positions
    limit = _read_limit(checkpoint / "sentence_bert_config.json")
    return checkpoint, Settings(pooling, normalise, min(limit, positions))


def read_spans(path: Path) -> dict[str, Span]:
    """Where each tensor lies in a safetensors file.

    The format: n as a little-endian uint64, n bytes of JSON, then the data that the JSON's offsets
    count from (https://huggingface.co/docs/safetensors, "Format").

    Raises:
        EncoderUnsupported: if it is not a sound safetensors file.
    """
    try:
        with safe_open(path, "np"):  # checks the header, and that it covers the file to its end
            pass
    except SafetensorError as error:
        raise EncoderUnsupported(f"{path} is not a sound safetensors file: {error}") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: Span(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }


def check_vocabulary(tokenizer: Path, spans: Mapping[str, Span]) -> None:
    """See that every token has a row in the word table, so that no text can fail the engine.

    Raises:
        EncoderUnsupported: if tokenizer and weights do not belong together.
    """
    largest = max(Tokenizer.from_file(str(tokenizer)).get_vocab().values())
    words = next((s for name, s in spans.items() if name.endswith(WORD_TABLE)), None)
    if words is not None and largest >= words.shape[0]:
        raise EncoderUnsupported(
            f"{tokenizer.name} has token {largest}, the weights have {words.shape[0]} words"
        )


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        EncoderUnsupported: if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise EncoderUnsupported(f"{path} is missing or not JSON: {error}") from error


def _read_modules(source: Path) -> dict[str, Path]:
    """The parts of a sentence-transformers model: class name -> folder."""
    modules = {
        str(module["type"]).rsplit(".", 1)[-1]: source / str(module["path"])
        for module in read_json(source / "modules.json")
    }
    if not {"Transformer", "Pooling"} <= modules.keys() <= {"Transformer", "Pooling", "Normalize"}:
        raise EncoderUnsupported(
            f"{source / 'modules.json'} lists {', '.join(modules)}; "
            "Honed serves Transformer, Pooling and, if there, Normalize"
        )
    return modules


def _read_pooling(path: Path) -> Pooling:
    modes = [name for name, on in read_json(path).items() if name.startswith(_MODE) and on is True]
    if len(modes) != 1 or modes[0] not in _POOLING_MODES:
        raise EncoderUnsupported(
            f"{path} asks for {', '.join(modes) or 'no pooling'}; "
            f"Honed serves one of {', '.join(_POOLING_MODES)}"
        )
    return _POOLING_MODES[modes[0]]


def _read_limit(path: Path) -> int:
    limit = read_json(path).get("max_seq_length") if path.is_file() else None
    return int(limit or _DEFAULT_MAX_TOKENS)


def _count(config: Mapping[str, object], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise EncoderUnsupported(f"config.json: {name} is {value!r}, not a count")
    return value


def _epsilon(config: Mapping[str, object]) -> float:
    value = config.get("layer_norm_eps", 1e-12)
    if not isinstance(value, int | float) or value < 0:
        raise EncoderUnsupported(f"config.json: layer_norm_eps is {value!r}, not a number >= 0")
    return float(value)
