"""When requests are sent: open-loop arrivals that do not wait for answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
"""float64 (arrivals,): seconds, growing."""


class Stretch(NamedTuple):
    """A stretch of time in which requests arrive at one rate.

    Attributes:
        per_s: Mean arrivals a second, >= 0.
        seconds: Its length, > 0.
    """

    per_s: float
    seconds: float


def poisson(stretches: Sequence[Stretch], seed: int) -> Times:
    """Arrivals of callers who know nothing of each other: a Poisson process of changing rate.

    Arrivals of rate 1 are put where the cumulative rate reaches them (Lewis and Shedler 1979).

    Args:
        stretches: One after the other.
        seed: The same seed gives the same times.

    Returns:
        float64 (arrivals,), seconds from the start of the first stretch, below the end of the last.
    """
    means = np.cumsum([0.0, *(stretch.per_s * stretch.seconds for stretch in stretches)])
    ends = np.cumsum([0.0, *(stretch.seconds for stretch in stretches)])
    # Ten standard deviations more than the mean: falling short would take longer than the universe.
    enough = int(means[-1] + 10 * means[-1] ** 0.5 + 10)
    unit = np.random.default_rng(seed).exponential(1.0, enough).cumsum()
    times: Times = np.interp(unit[unit < means[-1]], means, ends)
    return times
