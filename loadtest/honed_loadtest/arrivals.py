"""When requests are sent: open-loop arrivals that do not wait for answers."""

import numpy as np
from numpy.typing import NDArray


def poisson(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Arrival times of a Poisson process, as callers who know nothing of each other make.

    Several processes of rate r / n with different seeds are together one of rate r.

    Args:
        rate: Mean arrivals a second, > 0.
        seconds: Length of the process.
        seed: The same seed gives the same times.

    Returns:
        float64 (arrivals,), seconds from the start, growing, all below `seconds`.
    """
    mean = rate * seconds
    # Ten standard deviations more than the mean: falling short would take longer than the universe.
    enough = int(mean + 10 * mean**0.5 + 10)
    times = np.random.default_rng(seed).exponential(1 / rate, enough).cumsum()
    return times[times < seconds]
