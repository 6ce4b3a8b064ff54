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
NOTICED = 0.015
"""Labels that count no more are not among the recent ones. Those over the cap are such labels: by
the thousand they would leave nobody there to compare with."""
_LEAST = 0.1
"""What a recent label weighs at least, so that no number of light ones drives others out."""


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
        window: weight of the labels by named submitters that are recent, `least_rows` at least.
        least_rows: labels that must be in the window.
        floor: share of a label, or of its weight below 1, that is left to those over the cap, above
            0 and below `NOTICED`: a label without any weight would be a name without evidence.
        absent_s: seconds without a label after which others are not compared with a submitter.
        trusted: submitters who are never capped.
    """

    share: float = 0.05
    window: float = 1000.0
    least_rows: int = 200
    floor: float = 0.01
    absent_s: float = 14 * 86_400.0
    trusted: Collection[str] = field(default_factory=frozenset)


@dataclass(slots=True)
class Recent:
    """What counts of the recent labels of one model, by named submitter.

    Attributes:
        weights: summed weight that counts, of those who are there.
        rows: how many labels are recent, whoever gave them.
        absent: summed weight of those who have not labelled for long.
    """

    weights: dict[str, float]
    rows: int
    absent: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Iterable[tuple[str, float, float]], now: float, cap: Cap) -> Recent:
        """The newest labels of a model that together weigh `cap.window`, `cap.least_rows` at least.

        However heavy they are: else nobody would be capped where a weight of 10 is usual.

        Args:
            labels: submitter, weight that counts and time of recording, Unix seconds, of those that
                have a name and count more than `NOTICED`; the newest first.
            now: Unix seconds.
            cap: How much one submitter may weigh.
        """
        found, left = cls({}, 0), cap.window
        for submitter, weight, recorded in labels:
            there = submitter in found.weights or recorded >= now - cap.absent_s
            weights = found.weights if there else found.absent
            weights[submitter] = weights.get(submitter, 0.0) + max(weight, _LEAST)
            found.rows += 1
            left -= max(weight, _LEAST)
            if left <= 0 and found.rows >= cap.least_rows:
                break
        return found

    def add(self, submitter: str, weight: float) -> None:
        """Takes in one more; those that leave the window meanwhile are few."""
        self.weights[submitter] = self.weights.get(submitter, 0.0) + weight
        self.rows += 1

    def notice(self, submitter: str, weight: float) -> None:
        """Takes in what counts of an arriving label, as `of` would."""
        if submitter and weight > NOTICED:
            self.add(submitter, max(weight, _LEAST))

    def beside(self, submitter: str) -> dict[str, float]:
        """The weights of those who are there, of a submitter all that is recent.

        Who comes back is held to what they said before: else they could come with a flood again
        and again. The others who are absent are not compared with: else nobody could take over.
        """
        if submitter not in self.absent:
            return self.weights
        own = self.weights.get(submitter, 0.0) + self.absent[submitter]
        return {**self.weights, submitter: own}


def influence(submitter: str, weight: float, recent: Recent, cap: Cap) -> float:
    """The share of an arriving label's weight that counts, above 0 and at most 1.

    With W the weight in the window and W_s the submitter's own, the most that keeps their part at
    the cap is w such that W_s + w = cap (W + w).

    Args:
        submitter: Who says so; empty if nobody is named.
        weight: The label's weight, above 0.
        recent: What counts of the labels before it.
        cap: How much one submitter may weigh.
    """
    weights = recent.beside(submitter)
    if spared(submitter, recent, cap) or weights.keys() <= {submitter}:
        return 1.0
    own, total = weights.get(submitter, 0.0), sum(weights.values())
    within_share = (cap.share * total - own) / (1 - cap.share)
    as_others = ROOM * typical(weights.values()) - own
    return min(max(within_share, as_others, cap.floor * min(weight, 1.0)) / weight, 1.0)


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
