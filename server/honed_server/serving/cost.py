"""What a run of the encoder costs: a measured table that says how large a batch should be.

`encoders/timing.py` measures it when an encoder is loaded. `batcher.py` sizes batches by it, and
`admission.py` foretells when a request will be answered; `Pace` corrects both by what runs take.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

# A batch is large enough when its rate is within this of the best: more would only add latency.
_BUDGET_RATE = 0.98
# Below this rate, splitting what waits between workers wastes more than their company gains.
_SPLIT_RATE = 0.8
_SHORTEST_S = 1e-6
# Weight of the newest run in the running ratio: some tens of runs, about a third of a second.
_NEWEST = 0.1
_LEAST_PACE, _MOST_PACE = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One shape of batch, and the seconds that a run of it took while all workers were busy."""

    tokens: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds of a run by its tokens and rows; never falling with either, always positive.

    Attributes:
        curve: Seconds of a run of n tokens at index n, rows not counted.
        slope_s: Seconds of each token beyond the curve.
        row_s: Seconds of each row.
        budget_tokens: Tokens of the smallest batch whose rate is within 2 % of the best.
        split_tokens: The same within 20 %, at most half as many: what waits is not split between
            workers into less.
    """

    curve: tuple[float, ...]
    slope_s: float
    row_s: float
    budget_tokens: int
    split_tokens: int

    @classmethod
    def of(cls, points: Sequence[Measured]) -> CostModel:
        """The model of a measured table: linear between its points, however noisy they are.

        Args:
            points: At least one. Those of equal tokens and different rows tell the cost of a row.
        """
        assert points, "a cost model needs a measurement"
        row_s = _row_seconds(points)
        knots = _knots(points, row_s)
        tokens, seconds = knots[-1]
        before, earlier = knots[-2] if len(knots) > 1 else (0, 0.0)
        # Attention grows by the square: the next token never costs less than the mean one.
        slope_s = max((seconds - earlier) / (tokens - before), seconds / tokens)
        curve = _filled(knots)
        rates = [n / (at + row_s) for n, at in enumerate(curve)]
        budget = _first(rates, _BUDGET_RATE)
        split = min(_first(rates, _SPLIT_RATE), max(budget // 2, 1))
        return cls(curve, slope_s, row_s, budget, split)

    def seconds(self, tokens: int, rows: int) -> float:
        """Seconds of one run of one worker while all workers are busy."""
        last = len(self.curve) - 1
        beyond = (tokens - last) * self.slope_s if tokens > last else 0.0
        return self.curve[min(tokens, last)] + beyond + rows * self.row_s

    @property
    def token_s(self) -> float:
        """Seconds that a token costs in a batch of `budget_tokens`."""
        return self.seconds(self.budget_tokens, 1) / self.budget_tokens

    def scaled(self, ratio: float) -> CostModel:
        """The model of an encoder whose runs take `ratio` times as long."""
        curve = tuple(at * ratio for at in self.curve)
        return replace(self, curve=curve, slope_s=self.slope_s * ratio, row_s=self.row_s * ratio)

    def sized(self, budget_tokens: int | None, split_tokens: int | None) -> CostModel:
        """The same costs with sizes that somebody has set; None leaves what was measured."""
        budget = budget_tokens or self.budget_tokens
        split = min(split_tokens or self.split_tokens, budget)
        return replace(self, budget_tokens=budget, split_tokens=split)


class Pace:
    """How much longer runs take than the model says: the machine may be busy.

    Mean and mean deviation of measured over predicted seconds, as TCP estimates round trips
    (Jacobson, 1988).

    Attributes:
        ratio: Measured seconds for each predicted one, on average.
    """

    def __init__(self) -> None:
        self.ratio = 1.0
        self._deviation = 0.0

    @property
    def cautious(self) -> float:
        """A ratio that few runs exceed."""
        return self.ratio + 2 * self._deviation

    def observe(self, seconds: float, predicted_s: float) -> None:
        """Learns from one run."""
        # A machine that stood still for a second says nothing about the next one.
        off = min(seconds / predicted_s, _MOST_PACE) - self.ratio
        self.ratio += _NEWEST * off
        self._deviation += _NEWEST * (abs(off) - self._deviation)

    def doubt(self) -> None:
        """Lowers the ratio: by it nothing could run in time, so that no run would correct it."""
        self.ratio = max(self.ratio * (1 - _NEWEST), _LEAST_PACE)


def _row_seconds(points: Sequence[Measured]) -> float:
    """What one more row costs, from points of equal tokens; 0 if noise says it is a gain."""
    gains = [
        (many.seconds - few.seconds) / (many.rows - few.rows)
        for few in points
        for many in points
        if many.tokens == few.tokens and many.rows > few.rows
    ]
    return max(median(gains), 0.0) if gains else 0.0


def _knots(points: Iterable[Measured], row_s: float) -> list[tuple[int, float]]:
    """Tokens and seconds without rows, ascending in both.

    Noise only ever delays: a run took too long if a larger one took less.
    """
    by_tokens: dict[int, list[float]] = {}
    for point in points:
        by_tokens.setdefault(point.tokens, []).append(point.seconds - row_s * point.rows)
    knots: list[tuple[int, float]] = []
    least = float("inf")
    for tokens in sorted(by_tokens, reverse=True):
        least = max(min(least, median(by_tokens[tokens])), _SHORTEST_S)
        knots.append((tokens, least))
    return knots[::-1]


def _filled(knots: Sequence[tuple[int, float]]) -> tuple[float, ...]:
    """Seconds at each number of tokens up to the last knot; below the first they stay the same."""
    at = [tokens for tokens, _ in knots]
    curve = []
    for n in range(at[-1] + 1):
        right = bisect_left(at, n)
        (high, above), (low, below) = knots[right], knots[max(right - 1, 0)]
        share = (n - low) / (high - low) if high > low else 0.0
        curve.append(below + share * (above - below))
    return tuple(curve)


def _first(rates: Sequence[float], share: float) -> int:
    """The least tokens whose rate is at least this share of the best."""
    enough = share * max(rates)
    return max(next(n for n, rate in enumerate(rates) if rate >= enough), 1)
