"""The search for the highest rate ends between one that holds the bound and one that does not."""

import numpy as np
import pytest

from honed_loadtest.load import Outcome
from honed_loadtest.samples import SAMPLE
from honed_loadtest.search import Probe, highest


def outcome(latencies_s, failed=0):
    samples = np.zeros(len(latencies_s) + failed, SAMPLE)
    samples["ended"][: len(latencies_s)] = latencies_s
    samples["status"][len(latencies_s) :] = 4
    return Outcome(samples, len(latencies_s), 10.0, 0.0, (0.1,), len(latencies_s))


@pytest.mark.parametrize("limit", [3, 41, 97])
def test_the_rates_close_in_on_the_limit(limit):
    tried = highest(lambda rate: Probe("s", rate, 1, 1.0, 0, 0.1, rate <= limit), 100)
    held = max((probe.rate_per_s for probe in tried if probe.held), default=0)
    assert limit - 3 <= held <= limit
    assert len(tried) <= 7


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (outcome([0.1] * 99 + [9]), True),
        (outcome([0.1] * 98 + [9, 9]), False),
        (outcome([0.1] * 99, failed=1), True),
        (outcome([0.1] * 98, failed=2), False),
        (outcome([], failed=3), False),
    ],
)
def test_one_in_a_hundred_may_be_late_or_unanswered(found, held):
    assert Probe.of("s", 10, found, bound_s=0.2).held is held
