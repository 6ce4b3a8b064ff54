"""Honed's instant lane as the adapt process runs it: cap, sentinel, lane, and work for idle times.

The product's own code with the product's defaults; nothing is set for a data set. All labels come
as audits, since a stream is complete labelling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from honed_adapt.insight import open_set
from honed_adapt.insight.scores import energies, softmax
from honed_adapt.instant.evidence import Logits
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import logits_of
from honed_adapt.trust.influence import NOTICED, Cap, Recent, influence
from honed_adapt.trust.sentinel import Sentinel
from honed_loadtest.learning.contestant import Answers
from honed_loadtest.learning.streams import Said
from honed_loadtest.learning.vectors import Vectors


class HonedLane:
    """One lane, from nothing.

    Attributes:
        suspects: Submitters whom the sentinel named.
    """

    def __init__(self) -> None:
        self._lane: Lane | None = None
        self._sentinel = Sentinel()
        self._cap = Cap()
        self._counted: list[tuple[str, float, float]] = []
        self._position = 0
        self.suspects: list[str] = []

    def learn(self, said: Sequence[Said], vectors: Vectors) -> None:
        """Learns a batch as the adapt process does, and what it would do while idle."""
        lane = self._lane = self._lane or Lane(vectors.shape[1])
        rows = [self._row(one, vector) for one, vector in zip(said, vectors, strict=True)]
        kept, _ = self._sentinel.screen(rows)
        lane.apply(kept)
        if self._sentinel.due(lane):
            for one in self._sentinel.review(lane):
                lane.remove(one.positions)
                self._sentinel.distrust(one.standing.submitter)
                if one.standing.submitter not in self.suspects:
                    self.suspects.append(one.standing.submitter)
        _ = lane.head  # what is offered to the server
        while lane.busy:
            lane.work()
        lane.take_over()

    def settle(self) -> None:
        """Nothing is put off."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """Answers with the head that would serve; the score is its own, with the sign turned."""
        if self._lane is None or not self._lane.effective:
            return Answers.none(len(texts))
        head = self._lane.head
        logits = logits_of(head, vectors)
        best = logits.argmax(axis=1)
        odds = softmax(logits, head.temperature)[np.arange(len(best)), best]
        free = energies(logits, head.temperature)
        answered = best, odds.astype(np.float32), free.astype(np.float32)
        strange = open_set.scores([head], np.zeros(len(best), np.int64), *answered, vectors)
        return Answers([head.labels[at] for at in best], -strange.astype(np.float64))

    def close(self) -> None:
        """Nothing to give back."""

    def recipe(self) -> dict[str, object]:
        """What the lane has chosen."""
        return dict(self._lane.recipe.numbers()) if self._lane else {}

    def deletion_error(self, share: float = 0.1) -> float | None:
        """Forgets some rows; how far the head is from that of a lane that never had them.

        Args:
            share: of the rows in effect, the oldest ones.

        Returns:
            As `difference` has it; None if nothing is left.
        """
        assert self._lane is not None, "there is something to forget"
        rows = self._lane.in_effect
        gone = rows[: max(1, round(share * len(rows)))]
        self._lane.remove(row.position for row in gone)
        while self._lane.busy:
            self._lane.work()
        self._lane.take_over()
        fresh = self._lane.fresh()
        fresh.rebuild(self._lane.in_effect, self._lane.recipe, self._lane.votes)
        one, other = self._lane.learned, fresh.learned
        return None if one is None or other is None else difference(one, other)

    def _row(self, said: Said, vector: Vectors) -> Row:
        # Nobody is ever absent from a stream: all of it comes at one time.
        recent = Recent.of(reversed(self._counted), 0.0, self._cap)
        counts = influence(said.submitter, 1.0, recent, self._cap)
        if said.submitter and counts > NOTICED:
            self._counted.append((said.submitter, counts, 0.0))
        self._position += 1
        key = hashlib.sha256(said.text.encode()).digest()
        return Row(self._position, key, said.label, said.submitter, counts, vector, votes=True)


def difference(one: Logits, other: Logits) -> float:
    """How far two heads are apart: the largest difference of a weight, or of a bias.

    Each is over the largest of its kind in `other`, since they are on scales of their own.
    """
    pairs = ((one.weight, other.weight), (one.bias, other.bias))
    return max(float(np.abs(a - b).max()) / (float(np.abs(b).max()) or 1.0) for a, b in pairs)
