"""What an operator demands of a model's candidates, and when its rounds start. Pure values.

It stands beside the gate: the server keeps one policy for each model (`policies.py` there) and
`evaluate.py` and `trials.py` judge by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, Literal, get_args

Promotion = Literal["default", "superior", "manual"]

_PROMOTIONS = get_args(Promotion)


class PolicyError(ValueError):
    """A policy that cannot be followed.

    Attributes:
        field: the setting that is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Policy:
    """What is demanded of candidates, how they are tried, and when rounds start.

    Attributes:
        promotion: what promotes without a person. "default": no worse on the anchor set, and better
            on audits or the first to know a wanted label; "superior": no worse, and better on
            audits; "manual": nothing.
        alpha: share of false promotions that is borne over the life of the model, (0, 0.5].
        loss_share: share of anchor answers that a candidate may lose on balance, 0 to 1.
        canary_share: share of traffic that a candidate on trial answers, 0 to 0.5.
        keep_worse: whether a promoted version that proves worse stays nevertheless.
        audit_share: share of answers drawn as audits for the review queue, 0 to 1.
        out_of_scope_false_alarms: share of known texts that may be called out of scope, (0, 1).
        coverage: share of prediction sets that shall hold the right label, (0, 1).
        round_labels: new labels that start a round; 0 for none.
        round_interval_s: seconds after which new labels start a round; 0 for never.
        round_on_drift: whether a drift alarm starts a round.
        own_encoder: whether rounds give this model an encoder of its own.
        p99_ratio: times as long as before that a text may take with a candidate, 1 or more; a text
            as long as the 99th percentile of those asked of late.

    Raises:
        PolicyError: A value is out of its range.
    """

    promotion: Promotion = "default"
    alpha: float = 0.05
    loss_share: float = 0.01
    canary_share: float = 0.0
    keep_worse: bool = False
    audit_share: float = 0.05
    out_of_scope_false_alarms: float = 0.05
    coverage: float = 0.9
    round_labels: int = 0
    round_interval_s: float = 0.0
    round_on_drift: bool = False
    own_encoder: bool = False
    p99_ratio: float = 1.5

    def __post_init__(self) -> None:
        for name, message in self._faults():
            raise PolicyError(name, f"{name} is {getattr(self, name)!r}; {message}")

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.promotion not in _PROMOTIONS:
            yield "promotion", f"choose one of {', '.join(_PROMOTIONS)}"
        if not 0 < self.alpha <= 0.5:
            yield "alpha", "it must be above 0 and at most 0.5"
        if not 0 <= self.canary_share <= 0.5:
            yield "canary_share", "it must be 0 to 0.5: most traffic stays with what is proven"
        for name in ("loss_share", "audit_share"):
            if not 0 <= getattr(self, name) <= 1:
                yield name, "it must be 0 to 1"
        for name in ("out_of_scope_false_alarms", "coverage"):
            if not 0 < getattr(self, name) < 1:
                yield name, "it must lie between 0 and 1"
        if not (isfinite(self.p99_ratio) and self.p99_ratio >= 1):
            yield "p99_ratio", "it must be 1 or more: nothing has to be faster than what serves"
        if self.round_labels < 0:
            yield "round_labels", "it must not be negative"
        if not (isfinite(self.round_interval_s) and self.round_interval_s >= 0):
            yield "round_interval_s", "it must be a time that is not negative"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Policy:
        """The policy of these settings, which may be text as flags give it; defaults for the rest.

        Raises:
            PolicyError: A setting is unknown (with the nearest known one) or wrong.
        """
        known = {item.name: type(item.default) for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in known:
                close = get_close_matches(name, list(known), n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise PolicyError(name, f"there is no policy setting {name!r}{hint}")
            values[name] = _as(known[name], name, value)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self)


def _as(kind: type, name: str, value: Any) -> Any:
    """A setting as its own type; text is read, other types are refused."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, float) and (number or isinstance(value, str)):
        try:
            return kind(value)
        except ValueError as error:
            raise PolicyError(name, f"{name} is {value!r}, which is no number") from error
    if not isinstance(value, kind):
        raise PolicyError(name, f"{name} is {value!r}, which is no {kind.__name__}")
    return value
