"""One model's instant lane: which labels count, what was learned from them, and the anchor guard.

It stands between the log (`loop.py` feeds it) and a revision (its head is offered to the server).
No I/O: rows come in with their vectors. It is order-free and reversible: what it answers depends on
the rows present, on what audited ones among them voted and on the recipe, which is logged; on no
other history. So a lane built anew from the log is the same lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.instant.calibration import Tuning
from honed_adapt.instant.guard import Guard, Outcome, Refused, Score
from honed_adapt.instant.present import Row
from honed_adapt.instant.recipe import Recipe, Vote
from honed_adapt.instant.ridge import Ridge
from honed_adapt.instant.taught import Taught

__all__ = ["Lane", "Outcome", "Recipe", "Refused", "Row", "Tuning"]


class Lane(Taught):
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
        tuned: whether a round tuned the encoder: then what is learned is judged by rows that rounds
            hold out.

    Attributes:
        fresh: makes a lane of the same settings that has learned nothing.
    """

    def __init__(
        self,
        hidden: int,
        *,
        base: Head | None = None,
        guard_items: int = 2,
        trust: Mapping[str, float] | None = None,
        tuning: Tuning | None = None,
        tuned: bool = False,
    ) -> None:
        super().__init__(hidden, base, trust or {}, tuning or Tuning(), tuned)
        self._guard = Guard(guard_items)
        self.fresh: Callable[[], Lane] = partial(
            Lane, hidden,
            base=base, guard_items=guard_items, trust=trust, tuning=tuning, tuned=tuned,
        )  # fmt: skip
        self._anchors = np.zeros((0, hidden), np.float32)
        self._head: Head | None = None

    def __contains__(self, position: int) -> bool:
        """Whether the row of this log position is in the lane."""
        return position in self._present.rows

    @property
    def rows(self) -> Mapping[int, Row]:
        """All rows, those that do not count included, by log position."""
        return self._present.rows

    @property
    def anchor_correct(self) -> int:
        """How many anchor texts the present head answers rightly."""
        return self._score().served

    @property
    def anchor_total(self) -> int:
        """Size of the anchor set."""
        return len(self._guard.labels)

    @property
    def anchor_reference(self) -> int:
        """The most anchor answers right so far; the guard measures from here."""
        return self._guard.reference.served

    @property
    def recipe(self) -> Recipe:
        """How the experts are mixed: a decision, to be logged when it changes."""
        return self._experts.recipe

    @property
    def votes(self) -> Mapping[int, Vote]:
        """What audited rows said before they were learned, by log position; to be kept."""
        return self._experts.votes

    @property
    def busy(self) -> bool:
        """Whether there is work for idle times: see `work`."""
        return self._experts.busy

    @property
    def growing(self) -> bool:
        """Whether the same rows will make a better head: a regression is under way, or is due."""
        return self._experts.growing

    @property
    def ready(self) -> bool:
        """Whether a regression waits to take over: at the next label, or by `take_over`."""
        return self._experts.ready

    @property
    def ridge(self) -> Ridge | None:
        """The regression among the experts, None while there is none."""
        return self._experts.ridge

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
        refused = []
        if rows:
            self.take_over()
            self._experts.renew()
            refused = self._admit(rows)
        return Outcome(tuple(refused), self.anchor_correct, self.anchor_total)

    def take_over(self) -> None:
        """Let the regression serve that is ready, if there is one; the guard measures from there.

        So labels that come later are not blamed for what it costs.
        """
        if self._experts.take_over():
            self._stale()
            self._guard.refer(self._score(), self.anchor_reference)

    def remove(self, positions: Iterable[int]) -> None:
        """Forget rows. Never refused: the guard measures from the score that is left."""
        rows = self._present.rows
        gone = [rows[position] for position in positions if position in rows]
        if gone:
            self._change((), gone, forget=True)
            self._experts.renew()
            self._guard.refer(self._score())

    def rebuild(
        self,
        rows: Iterable[Row],
        recipe: Recipe | None = None,
        votes: Mapping[int, Vote] | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Hold just these rows, which were decided on before, past the guard.

        Args:
            rows: all that are present; what is there already costs nothing.
            recipe: as it was logged; None to decide one.
            votes: as they were kept.
            pause: called between slices of long work.
        """
        for _ in self.rebuilding(rows, recipe, votes):
            pause()

    def rebuilding(
        self,
        rows: Iterable[Row],
        recipe: Recipe | None = None,
        votes: Mapping[int, Vote] | None = None,
    ) -> Iterator[None]:
        """Do as `rebuild` in slices; the lane can be asked and taught again after the last one."""
        come, gone = self._present.difference(rows)
        self._change(come, gone, forget=bool(gone))
        yield from self._experts.restore(recipe, votes or {})
        self._guard.refer(self._score())

    def work(self) -> None:
        """Do one slice of what need not be done at once; what is served stays as it is."""
        self._experts.work()

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
        self._anchors, self._guard.labels = vectors, tuple(labels)
        self._experts.follow_anchors(vectors)
        self._guard.refer(self._score(), reference)

    def _score(self) -> Score:
        """Anchor answers that are right now."""
        labels = self._experts.labels
        if not self._guard.labels:
            return Score()
        logits, learned = np.zeros((0, 0)), 0
        if self._present.standing:
            logits, prior = self._experts.anchor_logits(), self._experts.prior
            # The temperature, most of the cost of a head, is needed where audits or a base count.
            heard = logits + self.temperature * prior if prior.any() else logits
            learned = self._guard.right(heard, labels)
        if self._beside is None:
            return Score(learned, learned)
        over = logits / self.temperature if self.weighing.weight else logits
        return Score(self._guard.right(self._beside.logits(self._anchors, over), labels), learned)

    def _admit(self, rows: Sequence[Row]) -> list[Refused]:
        ballots = self._experts.ballots(rows)
        self._change(rows, ())
        score = self._score()
        if self._guard.allows(score):
            self._guard.raise_to(score)
            self._experts.votes.update(ballots)
            return []
        self._change((), rows)
        if len(rows) == 1:
            return [Refused(rows[0].position, score.served, self._guard.reference.served)]
        middle = len(rows) // 2
        return self._admit(rows[:middle]) + self._admit(rows[middle:])

    def _change(
        self, added: Sequence[Row], removed: Sequence[Row], *, forget: bool = False
    ) -> None:
        self._experts.change(added, removed, forget=forget)
        self._stale()

    def _stale(self) -> None:
        """What was computed from rows and recipe is so no more."""
        self._temperature = self._head = None
        if self._beside is not None:
            self._beside.changed()

    def _make_head(self) -> Head:
        if self._beside is not None and self.weighing.weight == 0:
            return self._beside.base
        if not self._present.standing:
            return Head.empty(self.hidden)
        learned = self._experts.logits()
        if self._beside is None:
            odds = self.temperature * self._experts.prior
            head = learned.raised(odds).head(self.temperature)
            return replace(head, open_set=self._experts.open_set(self.temperature, odds))
        return self._beside.head(learned.over(self.temperature))
