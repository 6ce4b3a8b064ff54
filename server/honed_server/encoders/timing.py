"""Measures an encoder when it is loaded, as it will run: every worker at the same moment.

It stands before the first prediction. `cost.py` makes batch sizes and forecasts of what is found.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import monotonic, thread_time

import numpy as np
from numpy.typing import NDArray

from honed_kernels.head import HeadWeights
from honed_server.serving.cost import CostModel, Measured
from honed_server.serving.generations import Encoder

# Tokens and rows: of 16 tokens, as most texts are short; one shape of shorter rows tells the cost
# of a row. The last is too slow to run as often; it only tells how the curve goes on.
CPU_SHAPES = (
    (8, 1), (16, 1), (32, 2), (64, 4), (64, 16), (96, 6), (128, 8), (192, 12), (256, 16), (512, 32),
)  # fmt: skip
_MOST_S = 0.35
_ROUNDS = 5
_PAIRS, _MOST_PAIRS = 3, 15
_LONE_PAIRS = 5
_LONE_TOKENS = 16
_FIRST = np.zeros(1, np.int64)
_TOKEN = 3  # any token will do, but those of padding, which some families do not count

Rows = list[NDArray[np.int64]]
Side = tuple[Encoder, HeadWeights, int]
Seconds = Callable[[Encoder, HeadWeights, Rows], float]


def measure(
    encoder: Encoder, workers: int, shapes: Sequence[tuple[int, int]] = CPU_SHAPES
) -> CostModel:
    """The costs of an encoder on a machine that is idle but for this; about half a second.

    Args:
        encoder: What to run.
        workers: Threads that run at the same moment, since that is how it will serve.
        shapes: Tokens and rows of the batches to run, the largest last.
    """
    *often, largest = shapes
    spans: dict[tuple[int, int], list[float]] = {shape: [] for shape in (largest, *often)}
    began, rounds = monotonic(), 0
    with ThreadPoolExecutor(workers, "timing") as pool:

        def run(shape: tuple[int, int]) -> None:
            rows = _rows(*shape)
            runs = [pool.submit(_timed, lambda: encoder.encode(rows)) for _ in range(workers)]
            spans[shape] += [each.result() for each in runs]

        run(largest)
        while rounds == 0 or (rounds < _ROUNDS and monotonic() - began < _MOST_S):
            for shape in often:
                run(shape)
            rounds += 1
    # What else the machine does only ever delays: the least says most about the encoder.
    return CostModel.of(
        [Measured(tokens, rows, min(found)) for (tokens, rows), found in spans.items()]
    )


def measure_beside(encoder: Encoder, known: Encoder, cost: CostModel) -> CostModel:
    """The costs of an encoder that is loaded while others serve: those of `known`, scaled.

    Both run in turn, a few batches only: what else the machine does slows both, so that their ratio
    holds where seconds would not; and callers wait for no more than that.

    Args:
        encoder: What to measure.
        known: An encoder that was measured on the idle machine.
        cost: What was found then.
    """
    rows = _rows(cost.budget_tokens, -(-cost.budget_tokens // 16))
    new, old = _in_turn(lambda: encoder.encode(rows), lambda: known.encode(rows), _PAIRS)
    return cost.scaled(new / old)


def wide_gain(encoder: Encoder) -> float:
    """How many times faster a short text is when the encoder knows that it is alone."""
    rows = _rows(_LONE_TOKENS, 1)
    alone_s, wide_s = _in_turn(
        lambda: encoder.encode(rows), lambda: encoder.encode(rows, lone=True), _LONE_PAIRS
    )
    return alone_s / wide_s


def thread_seconds(encoder: Encoder, head: HeadWeights, rows: Rows) -> float:
    """CPU seconds of this thread, which does all the work of an answer on the CPU.

    Other work does not count in it, so that two answers can be compared on a machine that is busy.
    """
    return _timed(lambda: encoder.answer(rows, [head], _FIRST, top_k=[1]), thread_time)


def device_seconds(encoder: Encoder, _head: HeadWeights, rows: Rows) -> float:
    """Seconds until a device has encoded a text.

    Not with its head: that would enter the device's table, which is for heads that serve, and takes
    a small part of a graph's time.
    """
    return _timed(lambda: encoder.encode(rows))


def least(sides: Sequence[Side], seconds: Seconds) -> tuple[float, ...]:
    """The least seconds that each side takes for one text, in turn; a third of a second in all.

    The least, since what else the machine does only ever delays.

    Args:
        sides: Encoder, head and tokens of the text.
        seconds: One of the two above.

    Raises:
        HeadNotFinite: A head's logits are not finite.
    """
    texts = [_rows(tokens, 1) for _, _, tokens in sides]
    spans: list[list[float]] = [[] for _ in sides]
    began, rounds = monotonic(), 0
    # The first round is slower, since memory is taken, and does not count.
    while rounds <= _PAIRS or (rounds <= _MOST_PAIRS and monotonic() - began < _MOST_S):
        for (encoder, head, _), rows, span in zip(sides, texts, spans, strict=True):
            span.append(seconds(encoder, head, rows))
        rounds += 1
    return tuple(min(span[1:]) for span in spans)


def _in_turn(
    first: Callable[[], object], second: Callable[[], object], pairs: int
) -> tuple[float, float]:
    """Median seconds of each, interleaved."""
    spans = [(_timed(first), _timed(second)) for _ in range(pairs)]
    return median(a for a, _ in spans), median(b for _, b in spans)


def _timed(run: Callable[[], object], clock: Callable[[], float] = monotonic) -> float:
    started = clock()
    run()
    return clock() - started


def _rows(tokens: int, rows: int) -> Rows:
    return [part for part in np.array_split(np.full(tokens, _TOKEN, np.int64), rows) if part.size]
