"""Items that two heads answered, counted, and what the counts say of one class or of all.

Under `evaluate.py` and `trials.py`. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from honed_adapt.gate.betting import e_value

CLASS_ITEMS = 20
"""Labelled items from which on a class has a recall to lose."""

CLASS_ERRORS = 2.0
"""Standard errors that a class's recall may fall by."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Items that both heads answered: how often only one of them was right.

    Attributes:
        wins: only the candidate was right.
        losses: only the champion was right.
        total: items in all.
    """

    wins: int = 0
    losses: int = 0
    total: int = 0

    def __add__(self, other: Paired) -> Paired:
        return Paired(self.wins + other.wins, self.losses + other.losses, self.total + other.total)


NO_ITEMS = Paired()
"""Nothing answered yet."""


def by_class(answered: Iterable[tuple[str, bool, bool]]) -> dict[str, Paired]:
    """Counts items by label.

    Args:
        answered: label, whether the champion was right, and whether the candidate was.
    """
    counts = Counter(answered)
    return {
        label: Paired(
            counts[label, False, True],
            counts[label, True, False],
            sum(counts[label, old, new] for old in (False, True) for new in (False, True)),
        )
        for label in dict.fromkeys(label for label, _, _ in counts)
    }


def falls(one: Paired) -> bool:
    """Whether a class with enough items has lost recall beyond chance (paired standard error)."""
    net = one.losses - one.wins
    if one.total < CLASS_ITEMS or net <= 0:
        return False
    return net > CLASS_ERRORS * math.sqrt(one.wins + one.losses - net * net / one.total)


def detectable(both: Paired, e_needed: float) -> float | None:
    """Smallest gain in accuracy that would have been proven, given the losses that there were."""
    possible = range(both.total - both.losses + 1)
    # More wins are more evidence, so the least number that suffices can be bisected.
    wins = bisect_left(possible, e_needed, key=lambda wins: e_value(wins, both.losses))
    return (wins - both.losses) / both.total if wins in possible else None
