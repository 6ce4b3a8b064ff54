"""What starts a round by itself."""

import pytest

from honed_adapt.gate.policy import Policy
from honed_adapt.process.round_due import Since, due, next_look_s

ALL = Policy(round_labels=100, round_interval_s=3600.0, round_on_drift=True)


@pytest.mark.parametrize(
    ("policy", "since", "trigger"),
    [
        (Policy(), Since(10**6, 10**9, drifting=True), None),  # the default: on request only
        (ALL, Since(99, 10.0), None),
        (ALL, Since(100, 10.0), "count"),
        (ALL, Since(1, 3600.0), "time"),
        (ALL, Since(1, 10.0, drifting=True), "drift"),
        (ALL, Since(100, 3600.0, drifting=True), "drift"),
        (ALL, Since(0, 3600.0, drifting=True), None),  # nothing new: nothing would differ
    ],
)
def test_a_round_is_due_by_the_policy(policy, since, trigger):
    assert due(policy, since) == trigger


def test_only_time_needs_another_look():
    assert next_look_s(Policy(round_labels=5), Since(1, 5.0)) is None
    assert next_look_s(ALL, Since(1, 3000.0)) == 600.0
    assert next_look_s(ALL, Since(0, 9000.0)) == 0.0
