"""One model's regression on random features, and the larger one that is built beside it.

It stands inside `experts.py`. To have more features means to begin anew from the rows: seconds of
work, which are done in slices while the regression that is there goes on learning.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from honed_adapt.instant.present import Moves, Row, arrays
from honed_adapt.instant.ridge import Ridge, Spec, build
from honed_adapt.instant.updates import CHUNK, Scores

_SAMPLE = "sample"
_CATCH_UP = 16  # rows learned in one slice when what came meanwhile is caught up with


class Regression:
    """The regression that serves, if there is one yet, and the one under way.

    Attributes:
        ridge: the one that serves.
    """

    def __init__(self) -> None:
        self.ridge: Ridge | None = None
        self._building: Generator[None, None, Ridge] | None = None
        self._next: Ridge | None = None
        self._waiting: list[tuple[Row, float]] = []  # with what sign each is to be learned

    @property
    def busy(self) -> bool:
        """Whether `work` has something to do."""
        under_way = self._building is not None or bool(self._waiting)
        return under_way or (self.ridge is not None and self.ridge.unsettled)

    @property
    def growing(self) -> bool:
        """Whether another one is under way, or waits to take over."""
        return self._building is not None or self._next is not None

    @property
    def ready(self) -> bool:
        """Whether another one waits to take over, and has caught up."""
        return self._next is not None and not self._waiting

    def change(self, moves: Moves, *, forget: bool) -> None:
        """Learn and take out rows.

        Args:
            moves: which.
            forget: whether the result must be exact: rows are deleted.
        """
        signed = [(row, -1.0) for row in moves.gone] + [(row, 1.0) for row in moves.come]
        if self.ridge is not None and signed:
            _learn(self.ridge, signed)
            if forget:
                self.ridge.refine()
        if self._building is not None or self._next not in (None, self.ridge):
            self._waiting += signed

    def grow(self, choose: Generator[None, None, Spec], rows: Sequence[Row]) -> None:
        """Begin another one from the rows in effect.

        Args:
            choose: says how it is to be made, in slices.
            rows: in effect; one at least.
        """
        self._building = self._chosen(choose, rows)

    def work(self) -> None:
        """Do one slice."""
        if self._building is not None:
            try:
                next(self._building)
            except StopIteration as done:
                self._building, self._next = None, done.value
                if self._next is self.ridge:
                    self._waiting = []  # it has learned what came meanwhile
        elif self._waiting:
            assert self._next is not None, "rows wait for a regression under way"
            _learn(self._next, self._waiting[:_CATCH_UP])
            del self._waiting[:_CATCH_UP]
            if not self._waiting:
                self._next.refine()  # rows deleted meanwhile leave no trace
        elif self.ridge is not None:
            self.ridge.settle()

    def take_over(self) -> bool:
        """Let the new one serve if it has caught up, or what there is prove right; whether so."""
        if not self.ready:
            return False
        self.become(self._next)
        return True

    def become(self, ridge: Ridge | None) -> None:
        """Serve this one, and drop what is under way."""
        if self.ridge is not None and self.ridge is not ridge:
            self.ridge.unpark()  # no file outlives its model
        self.ridge = ridge
        self._building = self._next = None
        self._waiting = []

    def build(self, spec: Spec, rows: Sequence[Row]) -> Iterator[None]:
        """Begin anew, a slice at a time; it serves after the last one."""
        self.become(None)
        self._building = _made(spec, rows)
        while self._next is None:
            self.work()
            yield
        self.become(self._next)

    def scores(
        self, rows: Sequence[Row], labels: Sequence[str], *, followed: bool = False
    ) -> Scores:
        """Scores of rows.

        Args:
            rows: which; one at least.
            labels: which.
            followed: whether they are the sample, whose scores are kept up to date.
        """
        assert self.ridge is not None, "a recipe with features has a regression"
        vectors, _ = arrays(rows)
        if followed:
            self.ridge.follow(_SAMPLE, [row.position for row in rows], vectors)
            return self.ridge.followed(_SAMPLE, labels)
        parts = [vectors[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
        scores = [self.ridge.scores(part, labels) for part in parts]
        values = np.concatenate([one.values for one in scores])
        return Scores(values, np.concatenate([one.leverage for one in scores]))

    def _chosen(
        self, choose: Generator[None, None, Spec], rows: Sequence[Row]
    ) -> Generator[None, None, Ridge]:
        spec = yield from choose
        if self.ridge is not None and self.ridge.spec == spec:
            return self.ridge
        made: Ridge = yield from _made(spec, rows)
        return made


def _made(spec: Spec, rows: Sequence[Row]) -> Generator[None, None, Ridge]:
    vectors, weights = arrays(rows)
    ridge: Ridge = yield from build(spec, [row.said for row in rows], vectors, weights)
    return ridge


def _learn(ridge: Ridge, signed: Sequence[tuple[Row, float]]) -> None:
    vectors, weights = arrays([row for row, _ in signed])
    signs = np.array([sign for _, sign in signed])
    ridge.learn([row.said for row, _ in signed], vectors, signs * weights)
