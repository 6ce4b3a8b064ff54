"""Open-loop arrivals are a Poisson process, the same for the same seed."""

import numpy as np
import pytest

from honed_loadtest.arrivals import poisson


@pytest.mark.parametrize("rate", [0.5, 200.0])
def test_arrivals_come_at_the_rate_and_without_memory(rate):
    seconds = 20_000 / rate
    gaps = np.diff(poisson(rate, seconds, seed=1))
    assert len(gaps) == pytest.approx(20_000, rel=0.03)
    # Of an exponential distribution the deviation is the mean; of a regular pulse it is 0.
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_arrivals_grow_and_end_in_time():
    times = poisson(100, 10, seed=2)
    assert (np.diff(times) >= 0).all()
    assert times[0] > 0
    assert 9 < times[-1] < 10


def test_the_seed_decides():
    assert (poisson(50, 2, seed=3) == poisson(50, 2, seed=3)).all()
    assert poisson(50, 2, seed=3)[0] != poisson(50, 2, seed=4)[0]
