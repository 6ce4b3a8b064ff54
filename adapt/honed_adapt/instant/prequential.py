"""Scores each audited row by what the rows before it taught: test, then train.

It stands inside `lane.py`, for models with a user's own head; `evidence.py` has the maths. The
answer is a function of the rows present; what is kept here only saves work.
"""

from __future__ import annotations

from heapq import nsmallest

import numpy as np

from honed_adapt.head import Head
from honed_adapt.instant.calibration import Tuning, calibrate
from honed_adapt.instant.discriminant import Floats, Solution, Sums, data_prior, solve
from honed_adapt.instant.evidence import (
    HYPOTHESES,
    Logits,
    Weighing,
    base_logits,
    learned_logits,
    tally,
    weigh,
)
from honed_adapt.instant.present import Row, arrays, labelled


def block(row: int) -> tuple[int, int]:
    """Return start and end of the block that a row, counted from 0, lies in.

    Blocks grow by a quarter: a row is scored by at least four fifths of the rows before it, and
    10,000 rows need 41 solutions.
    """
    start, end = 0, 1
    while end <= row:
        start, end = end, end + max(1, end // 4)
    return start, end


class Prequential:
    """Tallies the votes of one lane's rows.

    All rows of a block are scored by the solution of the rows before the block. New rows at the
    end cost their own scores; when one leaves or comes in the middle, what follows is scored anew.

    Args:
        base: the user's own head.
        tuning: numbers of the lane's maths.
    """

    def __init__(self, base: Head, tuning: Tuning) -> None:
        self._base = base
        self._tuning = tuning
        self._rows: list[Row] = []
        # Total and recent tallies by number of rows: at the ends of blocks, and in the open one
        # wherever an answer was asked for.
        self._tallies: dict[int, Floats] = {0: np.zeros((2, 2, len(HYPOTHESES)))}
        self._forget_solution()

    def weighing(self, rows: list[Row]) -> Weighing:
        """Return how what the rows teach counts beside the own head.

        Args:
            rows: those in effect, in log order; the list is kept.
        """
        self._forget_after(_shared(self._rows, rows))
        done = max(self._tallies)
        while done < len(rows):
            start, end = block(done)
            stop = min(end, len(rows))
            counts = self._count(rows, start, rows[done:stop])
            # A vote for a good solution says more of the present one than an early vote.
            self._tallies[stop] = self._tallies[done] + np.stack([counts, counts * start**2])
            if stop == end:
                for inside in range(start + 1, end):
                    self._tallies.pop(inside, None)
            done = stop
        self._rows = rows
        return weigh(*self._tallies[done])

    def _forget_after(self, kept: int) -> None:
        self._tallies = {at: counts for at, counts in self._tallies.items() if at <= kept}
        if self._summed > kept:
            self._forget_solution()

    def _forget_solution(self) -> None:
        self._sums, self._summed = Sums(self._base.weight.shape[1]), 0
        self._logits: tuple[Logits, Logits] | None = None

    def _count(self, rows: list[Row], start: int, scored: list[Row]) -> Floats:
        """Count the votes of rows in the block that begins at `start`."""
        nothing = np.zeros((2, len(HYPOTHESES)))
        voters = [row for row in scored if row.votes]
        if start == 0 or not voters:
            return nothing
        base, learned = self._solve(rows, start)
        index = {label: at for at, label in enumerate(base.labels)}
        # Of a label that nobody could have named, neither side has a word to say.
        voters = [row for row in voters if row.label in index]
        if not voters:
            return nothing
        vectors, weights = arrays(voters)
        targets = np.array([index[row.label] for row in voters])
        votes = np.minimum(weights, 1.0)
        known = self._base.num_labels
        return tally(base.of(vectors), learned.of(vectors), targets, votes, known)

    def _solve(self, rows: list[Row], start: int) -> tuple[Logits, Logits]:
        """Return the base's and the learned logits as the first `start` rows make them."""
        if self._logits is None or self._summed != start:
            added = rows[self._summed : start]
            self._sums.add(*labelled(added))
            self._summed = start
            labels = [*self._base.labels, *sorted(self._sums.labels - set(self._base.labels))]
            solution = solve(self._sums, labels, data_prior(self._sums, self._tuning.shrinkage))
            sample = nsmallest(self._tuning.sample_rows, rows[:start], lambda row: row.text_hash)
            self._logits = mixable(self._base, solution, sample, self._tuning)
        return self._logits


def mixable(
    base: Head, solution: Solution, sample: list[Row], tuning: Tuning
) -> tuple[Logits, Logits]:
    """Return the logits of both over the labels of the solution, each at its temperature.

    Args:
        base: the user's own head.
        solution: what rows teach; the base's labels come first in it.
        sample: those rows with the smallest text hashes.
        tuning: numbers of the lane's maths.
    """
    vectors, _ = arrays(sample)
    temperature = calibrate(solution, sample, tuning.temperature)
    return base_logits(base, solution.labels, vectors), learned_logits(solution, temperature)


def _shared(old: list[Row], new: list[Row]) -> int:
    """How many rows two lists have in common from the start."""
    pairs = enumerate(zip(old, new, strict=False))
    differ = (at for at, (one, other) in pairs if one is not other)
    return next(differ, min(len(old), len(new)))
