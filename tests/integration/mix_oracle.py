"""What must hold for every answer of the mix: labels, swaps, rollbacks and deletions at once.

The truth comes from three sides: what the server published (Watch tells labels and temperature of
each version and revision), what was done to it (steps that may take a model back are declared with
their times), and what was acknowledged. `check` names all that contradicts them.
"""

import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

Tag = tuple[str, int, int]
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as a client recorded it; times are monotonic seconds of this machine."""

    client: str
    sent: float
    received: float
    model: str
    text: int
    prediction_id: str = ""
    version: int = 0
    revision: int = 0
    label_set: int = 0
    labels: tuple[str, ...] = ()
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    failure: str = ""

    @property
    def tag(self) -> Tag:
        return self.model, self.version, self.revision

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "Seen":
        values = json.loads(line)
        lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        return Seen(**{**values, **lists})


@dataclass(frozen=True, slots=True)
class Window:
    """A declared step during which a model, or all ("") may go back: rollback, resume, restart."""

    model: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Served:
    """An acknowledgement that a revision with the label serves."""

    model: str
    sent: float
    received: float
    revision: int


@dataclass(frozen=True, slots=True)
class Published:
    """What Watch told of one version and revision."""

    label_set: int
    labels: tuple[str, ...]
    temperature: float


@dataclass(slots=True)
class History:
    """All that happened.

    Attributes:
        away: When the server was not there: calls may fail then, and only then.
    """

    seen: list[Seen] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    published: dict[Tag, set[Published]] = field(default_factory=dict)
    away: list[tuple[float, float]] = field(default_factory=list)


def check(history: History) -> list[str]:
    """All that contradicts the promises; empty if nothing does."""
    answers = [one for one in history.seen if not one.failure]
    return [
        *_failures(history),
        *_torn(answers, history),
        *_inconsistent(answers),
        *_went_back(answers, history.windows),
        *_stale(answers, history),
    ]


def _failures(history: History) -> Iterable[str]:
    for one in history.seen:
        excused = any(one.sent < end and start < one.received for start, end in history.away)
        if one.failure and not excused:
            yield f"failed: {one.failure} at {one.sent:.3f}"


def _torn(answers: Sequence[Seen], history: History) -> Iterable[str]:
    """Label set, label names and temperature are those published for the tag that is named."""
    for one in answers:
        told = history.published.get(one.tag)
        if told is None:
            yield f"never published: {one.tag}"
            continue
        found = _temperature(one)
        if not any(
            (one.label_set, one.labels) == (each.label_set, each.labels)
            and (found is None or math.isclose(found, each.temperature, rel_tol=2e-3))
            for each in told
        ):
            yield f"torn: {one.tag} with labels {one.labels}, temperature {found} against {told}"


def _temperature(one: Seen) -> float | None:
    """What lies between the logits and the probabilities; None where rounding hides it."""
    order = sorted(range(len(one.logits)), key=lambda i: -one.logits[i])
    if len(order) < 2:
        return None
    shares = sorted(one.probabilities, reverse=True)
    gap = one.logits[order[0]] - one.logits[order[1]]
    if gap < 0.05 or shares[1] < 1e-4:
        return None
    return gap / math.log(shares[0] / shares[1])


def _inconsistent(answers: Sequence[Seen]) -> Iterable[str]:
    """One version and revision gives one text one answer, whatever shares its batch."""
    first: dict[tuple[Tag, int], Seen] = {}
    for one in answers:
        other = first.setdefault((one.tag, one.text), one)
        scale = max(1.0, *map(abs, other.logits)) if other.logits else 1.0
        if len(one.logits) != len(other.logits) or any(
            abs(a - b) > _TOLERANCE * scale for a, b in zip(one.logits, other.logits, strict=True)
        ):
            yield f"two answers of {one.tag} to text {one.text}: {one.logits}, {other.logits}"


def _went_back(answers: Sequence[Seen], windows: Sequence[Window]) -> Iterable[str]:
    newest: dict[tuple[str, str], Seen] = {}
    for one in sorted(answers, key=lambda each: (each.client, each.sent)):
        before = newest.get((one.client, one.model))
        newest[one.client, one.model] = one
        if before is None or (one.version, one.revision) >= (before.version, before.revision):
            continue
        if not _declared(windows, one.model, before.sent, one.received):
            yield f"went back: {one.client} saw {one.tag} after {before.tag}"


def _stale(answers: Sequence[Seen], history: History) -> Iterable[str]:
    """An answer sent after an acknowledgement is of that revision or a newer one."""
    served: dict[str, list[Served]] = defaultdict(list)
    for ack in sorted(history.served, key=lambda each: each.received):
        served[ack.model].append(ack)
    times = {model: [ack.received for ack in acks] for model, acks in served.items()}
    for one in answers:
        acks = served.get(one.model, [])
        last = bisect_left(times.get(one.model, []), one.sent)
        for ack in acks[max(0, last - 20) : last]:
            if one.revision < ack.revision and not _declared(
                history.windows, one.model, ack.sent, one.received
            ):
                yield f"stale: {one.tag} after revision {ack.revision} was acknowledged"


def _declared(windows: Sequence[Window], model: str, since: float, until: float) -> bool:
    return any(
        each.model in ("", model) and each.start < until and since < each.end for each in windows
    )
