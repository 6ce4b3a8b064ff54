"""Progressive validation: answer, then learn, each label once and in its order.

The protocol of river's `evaluate.progressive_val_score` with its `delay`: a label may come some
rows after its text was asked about. Labels come in batches, and a batch is answered before any of
it is learned. What a stream alone cannot show is asked of rows that nobody learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import process_time

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.learning.contestant import Answers, Contestant
from honed_loadtest.learning.streams import Said, Stream
from honed_loadtest.learning.vectors import Encoded, Vectors

FIRST = 1000
"""After so many labels there is a look that is reported alone, as the one at the end is."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the test rows showed after some labels.

    Attributes:
        labels: How many had been learned.
        right: By test row, bool.
        seen: Whether the row's class had come by then, bool.
    """

    labels: int
    right: NDArray[np.bool_]
    seen: NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Trace:
    """What came of one contestant on one stream.

    Attributes:
        right: By label of the stream: whether it was answered rightly before it was learned.
        looks: At the test rows.
        learn_s: CPU seconds of learning, by label.
        answer_s: CPU seconds of answering the stream, by label.
        known: Scores of the test rows at the end.
        strange: Scores of the texts outside at the end.
    """

    right: NDArray[np.bool_]
    looks: list[Look] = field(default_factory=list)
    learn_s: float = 0.0
    answer_s: float = 0.0
    known: NDArray[np.float64] | None = None
    strange: NDArray[np.float64] | None = None


class Progress:
    """One contestant on one stream.

    Args:
        stream: The labels.
        encoded: Vectors of all its texts.
        every: Labels that come together.
        delay: Rows by which a label comes after its text was asked about, beside its batch.
        looks: How often the test rows are asked about, beside the ends of blocks.
        test_rows: At most so many of them, spread evenly.
    """

    def __init__(
        self,
        stream: Stream,
        encoded: Encoded,
        *,
        every: int,
        delay: int = 0,
        looks: int = 40,
        test_rows: int | None = None,
    ) -> None:
        self._stream, self._every, self._delay = stream, every, delay
        self._vectors = encoded.of([one.text for one in stream.said])
        step = -(-len(stream.test) // test_rows) if test_rows and stream.test else 1
        self._test = stream.test[::step]
        self._test_vectors = encoded.of([text for text, _ in self._test]) if self._test else None
        self._outside = encoded.of(stream.outside) if stream.outside else None
        self._looks_at = _places(stream, every, looks)

    def run(self, contestant: Contestant, tell: Callable[[int], None] = lambda _: None) -> Trace:
        """Shows it the whole stream.

        Args:
            contestant: Has learned nothing.
            tell: Is told the number of labels at each look.
        """
        said, total = self._stream.said, len(self._stream.said)
        trace = Trace(np.zeros(total, np.bool_))
        learned = 0
        for start in range(0, total, self._every):
            stop = min(start + self._every, total)
            started = process_time()
            found = contestant.answer(
                [one.text for one in said[start:stop]], self._part(start, stop)
            )
            trace.answer_s += _cost(found.seconds, started)
            truths = [one.truth for one in said[start:stop]]
            trace.right[start:stop] = [a == b for a, b in zip(found.labels, truths, strict=True)]
            due = total if stop == total else max(0, stop - self._delay)
            trace.learn_s += self._learn(contestant, said[learned:due], learned, due)
            learned = max(learned, due)
            if stop in self._looks_at and learned:
                before = trace.looks[-1].labels if trace.looks else 0
                if stop == total or before < FIRST <= learned:
                    started = process_time()
                    trace.learn_s += _cost(contestant.settle(), started)
                trace.looks.append(self._look(contestant, learned))
                tell(learned)
        self._finish(contestant, trace)
        return trace

    def _learn(self, contestant: Contestant, said: Sequence[Said], start: int, stop: int) -> float:
        if not said:
            return 0.0
        started = process_time()
        return _cost(contestant.learn(said, self._part(start, stop)), started)

    def _part(self, start: int, stop: int) -> Vectors:
        return self._vectors[start:stop]

    def _look(self, contestant: Contestant, learned: int) -> Look:
        seen = {one.truth for one in self._stream.said[:learned]}
        answers = self._ask(contestant)
        right = [a == label for a, (_, label) in zip(answers.labels, self._test, strict=True)]
        return Look(
            learned,
            np.array(right, np.bool_),
            np.array([label in seen for _, label in self._test], np.bool_),
        )

    def _ask(self, contestant: Contestant) -> Answers:
        assert self._test_vectors is not None, "looks are at test rows"
        return contestant.answer([text for text, _ in self._test], self._test_vectors)

    def _finish(self, contestant: Contestant, trace: Trace) -> None:
        if self._outside is not None:
            trace.known = self._ask(contestant).scores
            trace.strange = contestant.answer(self._stream.outside, self._outside).scores


def _places(stream: Stream, every: int, looks: int) -> frozenset[int]:
    """After how many labels the test rows are asked about: ends of batches."""
    if not stream.test:
        return frozenset()
    total = len(stream.said)
    wanted = [round(total * (at + 1) / looks) for at in range(looks)] + [FIRST]
    arrived = 0
    for block in stream.blocks:
        arrived += sum(one.truth in block for one in stream.said)
        wanted.append(arrived)
    return frozenset(min(total, -(-place // every) * every) for place in wanted if place <= total)


def _cost(reported: float | None, started: float) -> float:
    return process_time() - started if reported is None else reported
