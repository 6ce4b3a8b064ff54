"""A lane over a candidate's encoder, learned beside the one that serves until the candidate does.

It stands inside `learner.py`. A candidate has learned up to the log position where its round read
the log; labels that came since would be un-served by a swap. So this lane is built from their texts
in slices, while the old one goes on learning, and then follows that one row by row. What the guard
of the old lane refused is not learned here either; the server judges the head before it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.instant.lane import Lane, Row
from honed_adapt.storage.vectors import VectorStore

log = structlog.get_logger(__name__)

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Texts = Callable[[], Mapping[int, str]]
"""The texts of all labels that have one, by log position, as the log has them now."""

# Texts encoded in a slice: as many as are encoded between two looks at the budget.
_CHUNK = 4


class Ahead:
    """One model's lane over another encoder.

    Args:
        model: name of the model.
        digest: of the encoder.
        lane: over that encoder; it has learned nothing yet.
        encode: from texts to that encoder's vectors.
        store: keeps these vectors, and what audits vote.

    Attributes:
        ready: whether the lane holds all that the serving one holds.
    """

    def __init__(
        self, model: str, digest: str, lane: Lane, encode: Encode, store: VectorStore
    ) -> None:
        self.digest = digest
        self.lane = lane
        self.encode = encode
        self.ready = False
        self._model = model
        self._store = store
        self._vectors: dict[int, NDArray[np.float32]] = {}
        self._lost: set[int] = set()  # rows whose text is gone: no new encoder can read them
        self._slices: Iterator[None] | None = None

    def prepare(self, serving: Lane, texts: Texts) -> None:
        """Do one slice of what is to be done before the lane is ready.

        Args:
            serving: the lane that serves; it may learn and forget between slices.
            texts: read when they are needed.
        """
        if self._slices is None:
            self._slices = self._preparing(serving, texts)
        try:
            next(self._slices)
        except StopIteration:
            self.ready = True

    def follow(self, serving: Lane, texts: Texts) -> None:
        """Learn and forget what the serving lane has learned and forgotten since."""
        for _ in self._encoding(serving, texts):
            pass
        self.lane.remove(self.lane.rows.keys() - serving.rows.keys())
        come = self._rows(serving)
        self.lane.apply(come)
        self._vectors.clear()  # the lane has them
        votes = self.lane.votes
        heard = {row.position: votes[row.position] for row in come if row.position in votes}
        self._store.put_votes(self._model, self.digest, heard)

    def _preparing(self, serving: Lane, texts: Texts) -> Iterator[None]:
        yield from self._encoding(serving, texts)
        votes = self._store.votes(self._model, self.digest)
        yield from self.lane.rebuilding(self._rows(serving), None, votes)
        while self.lane.busy:
            self.lane.work()
            yield
        self.lane.take_over()
        self.follow(serving, texts)

    def _encoding(self, serving: Lane, texts: Texts) -> Iterator[None]:
        """Encode in slices what has no vector; afterwards all has, or is lost."""
        missing = [at for at in self._lacking(serving) if at not in self._vectors]
        self._vectors = {at: one for at, one in self._vectors.items() if at in serving.rows}
        self._vectors |= self._store.load(self._model, self.digest, missing)
        missing = [at for at in missing if at not in self._vectors]
        known = texts() if missing else {}
        for start in range(0, len(missing), _CHUNK):
            # What was deleted since the texts were read must leave no vector.
            chunk = [at for at in missing[start : start + _CHUNK] if at in serving.rows]
            readable = [at for at in chunk if known.get(at)]
            if readable:
                encoded = self.encode([known[at] for at in readable])
                fresh = dict(zip(readable, encoded, strict=True))
                self._store.put(self._model, self.digest, fresh)
                self._vectors |= fresh
            yield
        if lost := {at for at in missing if at in serving.rows and at not in self._vectors}:
            self._lost |= lost
            log.warning(
                "labels without text are not caught up", model=self._model, labels=len(self._lost)
            )

    def _lacking(self, serving: Lane) -> list[int]:
        """Log positions of what the serving lane holds and this one does not, in their order."""
        return sorted(serving.rows.keys() - self.lane.rows.keys() - self._lost)

    def _rows(self, serving: Lane) -> list[Row]:
        return [
            replace(serving.rows[at], vector=self._vectors[at])
            for at in self._lacking(serving)
            if at in self._vectors
        ]
