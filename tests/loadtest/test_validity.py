"""A run that measured its own clients says so."""

import numpy as np

from honed_loadtest.load import Outcome
from honed_loadtest.samples import SAMPLE
from honed_loadtest.validity import faults


def outcome(late_s=0.0, busy=(0.1,), answered=True):
    samples = np.zeros(1000, SAMPLE)
    samples["due"] = np.linspace(0, 10, 1000)
    samples["sent"] = samples["due"] + late_s
    samples["ended"] = samples["sent"] + 0.01
    samples["status"] = 0 if answered else 14
    return Outcome(samples, 1000, 10.0, 0.0, tuple(10 * share for share in busy), 1000)


def test_clients_that_keep_up_are_no_fault():
    assert faults(outcome(late_s=0.001, busy=(0.5, 0.2))) == []


def test_a_client_that_is_busy_all_the_time_is_what_was_measured():
    (fault,) = faults(outcome(busy=(0.1, 0.95)))
    assert fault == "a client process was busy 95% of the time: use more --processes"


def test_requests_that_are_sent_late_are_what_was_measured():
    (fault,) = faults(outcome(late_s=0.02))
    assert "sent late, 20.0 ms at p99" in fault


def test_labels_that_were_never_served_are_missing_in_what_is_said_of_labels():
    (fault,) = faults(outcome(), unserved=3)
    assert fault.startswith("3 labels were not served")


def test_nothing_answered_is_nothing_measured():
    assert faults(outcome(answered=False)) == ["nothing was answered"]
