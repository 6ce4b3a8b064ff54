"""Two arms are compared by the ratio of their percentiles, with an interval around it."""

import numpy as np
import pytest

from honed_loadtest.comparison import compared
from honed_loadtest.load import Outcome
from honed_loadtest.samples import SAMPLE

NAMES = ("a", "b")


def outcome(latencies_s):
    """Requests that were due evenly over 20 seconds."""
    samples = np.zeros(len(latencies_s), SAMPLE)
    samples["due"] = np.linspace(0, 20, len(samples), endpoint=False)
    samples["ended"] = samples["due"] + latencies_s
    return Outcome(samples, len(samples), 20.0, 0.0, (0.1,), len(samples))


def drawn(seed, scale=0.02):
    return outcome(np.random.default_rng(seed).exponential(scale, 4000))


def test_equal_arms_have_a_ratio_of_one_within_the_interval():
    found = compared(NAMES, [(drawn(n), drawn(n + 100)) for n in range(3)])
    for name in ("p50_ms", "p90_ms", "p99_ms"):
        of = found["percentiles"][name]
        assert of["low"] < 1 < of["high"], name
        assert of["high"] - of["low"] < 0.5, name


def test_a_slower_arm_is_found_out():
    found = compared(NAMES, [(drawn(n), drawn(n + 100, 0.03)) for n in range(3)])
    median = found["percentiles"]["p50_ms"]
    assert median["ratio"] == pytest.approx(1.5, rel=0.1)
    assert 1 < median["low"] < 1.5 < median["high"]
    assert median["second"]["low"] > median["first"]["high"]


def test_seconds_are_drawn_whole_so_that_one_bad_second_widens_the_interval():
    calm = np.full(4000, 0.02)
    bad = calm.copy()
    bad[:200] = 0.5  # one second of twenty
    found = compared(NAMES, [(outcome(calm), outcome(bad))])["percentiles"]["p99_ms"]
    assert found["ratio"] == pytest.approx(25)
    assert (found["low"], found["high"]) == (1, pytest.approx(25)), "it may not have happened"


def test_an_arm_that_answered_nothing_is_not_compared():
    silent = outcome(np.full(10, 0.1))
    silent.samples["status"] = 8
    assert compared(NAMES, [(silent, drawn(0))])["percentiles"] == {}
