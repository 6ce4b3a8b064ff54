"""Load clients share a job out and put what they saw together."""

from dataclasses import replace

import pytest

from honed_loadtest.bench import checked
from honed_loadtest.load import Outcome, shares
from honed_loadtest.load_client import Job, Result

JOB = Job("127.0.0.1:1", "m", ["a", "b", "c"], 5, 90.0, 1.0, 2.0, seed=7, processes=2)


def test_the_parts_of_a_job_are_the_job():
    parts = shares(JOB)
    assert [part.threads for part in parts] == [3, 2]
    assert sorted(text for part in parts for text in part.texts) == ["a", "b", "c"]
    assert sum(part.rate for part in parts) == JOB.rate
    assert len({part.seed for part in parts}) == 2


def test_a_closed_loop_of_one_is_one_process():
    job = Job("127.0.0.1:1", "m", ["a"], 1, None, 1.0, 2.0, seed=0, processes=4)
    assert shares(job) == [replace(job, processes=1)]


def test_jobs_of_different_seeds_never_share_arrivals():
    jobs = [replace(JOB, seed=n, processes=3) for n in range(5)]
    seeds = [part.seed for job in jobs for part in shares(job)]
    assert len(set(seeds)) == 15


def test_results_add_up():
    one = Result([0.1, 0.3], [0.0, 0.2], [0.1, 0.1], {"UNAVAILABLE": 1}, {"1.7": 2}, 0.5, 2.0)
    other = Result([0.2], [0.1], [0.1], {}, {"1.7": 1, "1.8": 1}, 0.25, 2.0)
    both = Outcome.of([one, other])
    assert both.latencies_s.tolist() == [0.1, 0.3, 0.2]
    assert both.queued_s.tolist() == [0.0, 0.2, 0.1]
    assert (both.per_s, both.cpu_share, both.cpu_ms_per_request) == (1.5, 0.375, 250)
    assert both.failures == {"UNAVAILABLE": 1}
    assert both.served == {"1.7": 3, "1.8": 1}


def test_failures_are_not_passed_over():
    failed = Outcome.of([Result([0.1], [0], [0], {"UNAVAILABLE": 1}, {}, 0.0, 1.0)])
    with pytest.raises(RuntimeError, match="UNAVAILABLE"):
        checked(failed)
