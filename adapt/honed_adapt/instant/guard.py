"""The anchor guard: how many trusted answers a model gives, and how many labels may cost.

It stands inside `lane.py`, which asks it after each step of learning. Beside a user's own head two
things are measured, what serves and what was learned: while the latter does not count yet, poison
must not wait in it unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from honed_adapt.instant.discriminant import Floats


@dataclass(frozen=True, slots=True)
class Score:
    """Anchor answers that are right.

    Attributes:
        served: by what serves.
        learned: by what the rows alone teach.
    """

    served: int = 0
    learned: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the guard put in quarantine.

    Attributes:
        position: its place in the log.
        correct: anchor answers that would have been right with it.
        reference: the most that had been right before.
    """

    position: int
    correct: int
    reference: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch of rows.

    Attributes:
        quarantined: rows that were refused, in log order; all others are learned.
        anchor_correct: anchor answers right afterwards, of `anchor_total`.
        anchor_total: size of the anchor set.
    """

    quarantined: tuple[Refused, ...]
    anchor_correct: int
    anchor_total: int


class Guard:
    """The anchors' labels, and the most that was right so far.

    Args:
        items: anchor answers that labels may cost, in all, below the best there was.

    Attributes:
        labels: the right label of each anchor.
        reference: the most that was right so far.
    """

    def __init__(self, items: int) -> None:
        self.labels: tuple[str, ...] = ()
        self.reference = Score()
        self._items = items

    def right(self, logits: Floats, labels: Sequence[str]) -> int:
        """How many anchors logits answer rightly, (anchors, C) over the first C of the labels."""
        answers = [labels[index] for index in logits.argmax(axis=1)]
        return sum(a == label for a, label in zip(answers, self.labels, strict=True))

    def allows(self, score: Score) -> bool:
        """Whether a step of learning may stand."""
        lost = self.reference.served - score.served, self.reference.learned - score.learned
        return max(lost) <= self._items

    def raise_to(self, score: Score) -> None:
        """Measure from the best there was."""
        best = self.reference
        self.reference = Score(max(best.served, score.served), max(best.learned, score.learned))

    def refer(self, score: Score, earned: int | None = None) -> None:
        """Measure from here, or from what was earned before, if that is within reach."""
        self.reference = score
        if earned is not None and earned - self._items <= score.served:
            self.raise_to(Score(earned, 0))
