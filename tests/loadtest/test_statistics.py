"""Percentiles are samples that were seen; spreads are medians with their range."""

import numpy as np
import pytest

from honed_loadtest.statistics import Latencies, Spread, at_most, spread


def test_percentiles_are_nearest_ranks_in_milliseconds():
    samples = np.random.default_rng(0).permutation(np.arange(1, 1001)) / 1000
    found = Latencies.of(samples)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (500, 950, 990, 1000)
    assert (found.count, found.mean_ms) == (1000, 500.5)


def test_one_slow_answer_in_fifty_is_the_p99():
    assert Latencies.of([0.001] * 98 + [0.4] * 2).p99_ms == 400


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="too short"):
        Latencies.of([])


def test_a_spread_is_a_median_with_its_range():
    assert Spread.of([3.0, 1.0, 9.0]) == Spread(median=3.0, low=1.0, high=9.0)
    assert spread([2.0, 4.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_what_was_seen_seldom_may_be_more_frequent():
    """The limits that tables of Clopper and Pearson have; 3 / n where nothing was seen."""
    assert at_most(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60), abs=1e-4)
    assert at_most(5, 100) == pytest.approx(0.1023, abs=1e-4)
    assert at_most(5, 100, confidence=0.5) < 0.06
    assert at_most(20, 20) == 1.0
