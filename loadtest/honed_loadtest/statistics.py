"""From samples to the few numbers that are reported: percentiles of one run, spread over runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb

import numpy as np
from numpy.typing import ArrayLike

_HALVINGS = 20  # of an interval, to 1e-6


@dataclass(frozen=True, slots=True)
class Latencies:
    """Percentiles of a run, in milliseconds, and how many samples they rest on."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @staticmethod
    def of(seconds: ArrayLike) -> "Latencies":
        """Summarises samples given in seconds.

        Raises:
            ValueError: There are none.
        """
        samples = np.asarray(seconds, np.float64) * 1e3
        if not samples.size:
            raise ValueError("no samples to take percentiles of: the run was too short")
        # Nearest rank: a percentile is a sample that was really seen.
        ranks = np.percentile(samples, [50, 95, 99, 100], method="inverted_cdf")
        rounded = [round(float(value), 3) for value in (samples.mean(), *ranks)]
        return Latencies(samples.size, *rounded)


@dataclass(frozen=True, slots=True)
class Spread:
    """One number over several rounds: its median and its range."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Median and range of the values of the rounds, at least one."""
        numbers = (np.median(values), min(values), max(values))
        return Spread(*(round(float(number), 4) for number in numbers))


def spread(values: Sequence[float]) -> dict[str, float]:
    """`Spread.of` as it is written into results."""
    return asdict(Spread.of(values))


def latencies(seconds: ArrayLike) -> dict[str, float]:
    """`Latencies.of` as it is written into results."""
    return asdict(Latencies.of(seconds))


def at_most(found: int, of: int, confidence: float = 0.95) -> float:
    """Upper limit of a share of which `found` in `of` were seen (Clopper and Pearson, one-sided).

    Were the share larger, so few would be seen with a chance of at most 1 - `confidence`.
    """
    low, high = found / of, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        chance = sum(comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(found + 1))
        low, high = (share, high) if chance > 1 - confidence else (low, share)
    return round(high, 4)
