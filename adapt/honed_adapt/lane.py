"""One model's instant lane: which labels count, what was learned from them, and the anchor guard.

It stands between the log (`loop.py` feeds it) and a revision (its head is offered to the server).
No I/O: rows come in with their vectors. All that it answers depends on the rows present and on no
history, so a lane built anew from the log is the same lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.calibration import Tuning, calibrate
from honed_adapt.evidence import ALONE, Weighing, combine
from honed_adapt.head import Head
from honed_adapt.instant import Solution, data_prior, solve
from honed_adapt.prequential import Prequential, mixable
from honed_adapt.present import PresentRows, Row

__all__ = ["Lane", "Outcome", "Refused", "Row", "Tuning"]


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


class Lane:
    """Learns labels one batch at a time, and forgets them exactly.

    Several labels for one text: all are kept, and the newest of the most trusted submitter counts.

    Beside a base, which is a user's own head, what was learned counts as `evidence.py` weighs it;
    while it does not count the base serves as it is.

    Args:
        hidden: length of a vector.
        base: the head that what is learned is added to, None if there is none.
        guard_items: anchor answers that labels may cost, in all, below the best there was.
        trust: trust by submitter; others have 1.
        tuning: numbers of the maths.
    """

    def __init__(
        self,
        hidden: int,
        *,
        base: Head | None = None,
        guard_items: int = 2,
        trust: Mapping[str, float] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.hidden = hidden
        self._guard_items = guard_items
        self._trust = trust or {}
        self._tuning = tuning or Tuning()
        self._anchors = np.zeros((0, hidden))
        self._anchor_labels: list[str] = []
        self._reference = 0
        self._present = PresentRows(hidden, self._trust)
        self._base = base
        self._prequential = None if base is None else Prequential(base, self._tuning)
        self._weighing: Weighing | None = None
        self._solution: Solution | None = None
        self._head: Head | None = None

    def __contains__(self, position: int) -> bool:
        """Whether the row of this log position is in the lane."""
        return position in self._present.rows

    @property
    def effective(self) -> int:
        """How many rows count: one per text."""
        return len(self._present.standing)

    @property
    def anchor_correct(self) -> int:
        """How many anchor texts the present head answers rightly."""
        if not self._anchor_labels:
            return 0
        # The temperature, which only a base needs here, is most of the cost of a head.
        judged = self.solution if self._base is None else self.head
        if judged is None:
            return 0
        best = (self._anchors @ judged.weight.T + judged.bias).argmax(axis=1)
        answers = [judged.labels[index] for index in best]
        return sum(a == label for a, label in zip(answers, self._anchor_labels, strict=True))

    @property
    def anchor_total(self) -> int:
        """Size of the anchor set."""
        return len(self._anchor_labels)

    @property
    def anchor_reference(self) -> int:
        """The most anchor answers right so far; the guard measures from here."""
        return self._reference

    @property
    def weighing(self) -> Weighing:
        """How what was learned counts beside the base."""
        if self._weighing is None:
            self._weighing = (
                self._prequential.weighing(self._present.in_log_order())
                if self._prequential is not None
                else ALONE
            )
        return self._weighing

    @property
    def solution(self) -> Solution | None:
        """What the rows alone teach, before rounding, float64; None without rows.

        The base's labels come first; others in the order of their smallest position in effect.
        """
        if self._solution is None and self._present.standing:
            known = () if self._base is None else self._base.labels
            labels = [*known, *(name for name in self._present.labels() if name not in known)]
            prior = data_prior(self._present.sums, self._tuning.shrinkage)
            self._solution = solve(self._present.sums, labels, prior)
        return self._solution

    @property
    def head(self) -> Head:
        """The head that serves what was learned."""
        if self._head is None:
            self._head = self._make_head()
        return self._head

    def apply(self, rows: Sequence[Row]) -> Outcome:
        """Learn new rows, in log order, save those that would cost too many anchor answers.

        A batch that fails the guard is halved, down to single rows, so that the innocent rows of
        a poisoned burst are learned.
        """
        refused = self._admit(rows) if rows else []
        return Outcome(tuple(refused), self.anchor_correct, self.anchor_total)

    def remove(self, positions: Iterable[int]) -> None:
        """Forget rows. Never refused: the guard measures from the score that is left."""
        rows = self._present.rows
        gone = [rows[position] for position in positions if position in rows]
        if gone:
            self._change((), gone)
            self._reference = self.anchor_correct

    def rebuild(self, rows: Iterable[Row]) -> None:
        """Start anew from rows that were decided on before, past the guard."""
        self._present = PresentRows(self.hidden, self._trust)
        self._change(rows, ())
        self._reference = self.anchor_correct

    def set_anchors(
        self, vectors: NDArray[np.float32], labels: Sequence[str], reference: int | None = None
    ) -> None:
        """Put another anchor set in place.

        Args:
            vectors: float32 (anchors, hidden).
            labels: the right label of each.
            reference: the most that were right so far under this set, None if it is new. One that
                lies out of the guard's reach was earned with rows forgotten since, and is void.
        """
        self._anchors, self._anchor_labels = vectors.astype(np.float64), list(labels)
        correct = self.anchor_correct
        reachable = reference is not None and reference - self._guard_items <= correct
        self._reference = max(correct, reference or 0) if reachable else correct

    def _admit(self, rows: Sequence[Row]) -> list[Refused]:
        self._change(rows, ())
        correct = self.anchor_correct
        if correct >= self._reference - self._guard_items:
            self._reference = max(self._reference, correct)
            return []
        self._change((), rows)
        if len(rows) == 1:
            return [Refused(rows[0].position, correct, self._reference)]
        middle = len(rows) // 2
        return self._admit(rows[:middle]) + self._admit(rows[middle:])

    def _change(self, added: Iterable[Row], removed: Iterable[Row]) -> None:
        self._present.change(added, removed)
        self._weighing = self._solution = self._head = None

    def _make_head(self) -> Head:
        if self._base is not None and self.weighing.weight == 0:
            return self._base
        solution = self.solution
        if solution is None:
            return Head.empty(self.hidden)
        sample = self._present.sample(self._tuning.sample_rows)
        if self._base is None:
            return solution.head(calibrate(solution, sample, self._tuning.temperature))
        return combine(*mixable(self._base, solution, sample, self._tuning), self.weighing)
