"""How much of an arriving label counts: no submitter may outweigh many others. Pure.

It stands where a label is recorded (`feedback/writes.py`): the share that counts is decided there,
once, from the labels before it, and is written beside the label. So it depends on nothing but the
log, and survives rebuilds, replays and later deletions of those that it was measured against.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

ROOM = 1.5
"""Times what is typical that anybody may have."""


@dataclass(frozen=True, slots=True)
class Cap:
    """How much one submitter may weigh.

    Nobody is capped who has no more than half as much again as is typical, so that where there are
    fewer submitters than the share has room for each of them counts in full. Typical is the
    weighted median: half of the weight comes from submitters with at most so much. So an import
    into a fresh model, a model with one submitter or a handful of them, and those who give no name,
    are not held back; twenty invented names do not lower it against the one who labels most, unless
    they label as much.

    Attributes:
        share: most of the recent weight that one submitter may have, in (0, 1]; 1 caps nobody.
        window: labels of the model that are recent.
        least_rows: labels by named submitters that must be in the window.
        floor: share of a label's weight that is left to those over the cap, above 0: a label
            without any weight would be a name without evidence.
        trusted: submitters who are never capped.
    """

    share: float = 0.05
    window: int = 1000
    least_rows: int = 200
    floor: float = 0.01
    trusted: Collection[str] = field(default_factory=frozenset)


@dataclass(slots=True)
class Recent:
    """What counts of the recent labels of one model, by named submitter.

    Attributes:
        weights: summed weight that counts.
        rows: how many labels that is.
    """

    weights: dict[str, float]
    rows: int

    def add(self, submitter: str, weight: float) -> None:
        """Takes in one more; those that leave the window meanwhile are few."""
        if submitter:
            self.weights[submitter] = self.weights.get(submitter, 0.0) + weight
            self.rows += 1


def influence(submitter: str, weight: float, recent: Recent, cap: Cap) -> float:
    """The share of an arriving label's weight that counts, in [cap.floor, 1].

    With W the weight in the window and W_s the submitter's own, the most that keeps their part at
    the cap is w such that W_s + w = cap (W + w).

    Args:
        submitter: Who says so; empty if nobody is named.
        weight: The label's weight, above 0.
        recent: What counts of the labels before it.
        cap: How much one submitter may weigh.
    """
    if spared(submitter, recent, cap):
        return 1.0
    own, total = recent.weights.get(submitter, 0.0), sum(recent.weights.values())
    within_share = (cap.share * total - own) / (1 - cap.share)
    as_others = ROOM * typical(recent.weights.values()) - own
    return min(max(within_share, as_others, cap.floor * weight) / weight, 1.0)


def spared(submitter: str, recent: Recent, cap: Cap) -> bool:
    """Whether the cap does not hold for somebody: without a name, trusted, or as yet for nobody."""
    nobody = cap.share >= 1 or recent.rows < cap.least_rows
    return nobody or not submitter or submitter in cap.trusted


def typical(weights: Iterable[float]) -> float:
    """The weighted median: half of the weight lies with those who have at most so much."""
    ordered = sorted(weights)
    half, passed = sum(ordered) / 2, 0.0
    for weight in ordered:
        passed += weight
        if passed >= half:
            return weight
    return 0.0
