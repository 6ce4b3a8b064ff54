"""The jobs of the learning suite: which there are, in how many orders, and which come first."""

from collections import Counter

import pytest

from honed_loadtest.learning.catalogue import HONED, STREAMS, Plan
from honed_loadtest.learning.jobs import by_worth, following, of_data
from honed_loadtest.learning.streams import FIRST_LABELS


def test_a_run_that_is_cut_off_has_its_own_figures_first_and_a_round_beside_them():
    plan = Plan()
    jobs = by_worth(
        job
        for name, times in (("banking77", ()), ("arxiv_stream", ("2017", "2018", "2019")))
        for job in of_data(name, STREAMS[name], times, plan)
    )
    assert len(set(jobs)) == len(jobs)
    rounds = [job for job in jobs if job.kind == "rounds"]
    assert [job.form for job in rounds] == ["", "2017 to 2018", "2018 to 2019"]
    streams = [job for job in jobs if job.kind == "stream"]
    own = [job.contestant == HONED for job in streams]
    assert own == sorted(own, reverse=True)
    seeds = Counter(job.contestant for job in streams if job.form == "random")
    assert set(seeds.values()) == {5, 2}
    assert seeds[HONED] == 5
    first = following(jobs, [])
    assert first == rounds[0]
    assert following([job for job in jobs if job != first], [first]) == streams[0]
    assert following(rounds[1:], [first]) == rounds[1], "rather two than none"


@pytest.mark.parametrize("name", ["banking77/random", "banking77/class-incremental",
    "banking77/late-class", "clinc150/random", "clinc150/class-incremental"])  # fmt: skip
def test_accuracy_is_the_mean_of_five_orders(name):
    data, form = name.split("/")
    jobs = of_data(data, STREAMS[data], (), Plan())
    assert len({job.seed for job in jobs if (job.form, job.contestant) == (form, HONED)}) == 5


def test_orders_that_are_asked_for_are_those_of_every_random_form():
    forms = ("random", "noisy", "by-date", FIRST_LABELS)
    jobs = list(of_data("/mine.csv", forms, (), Plan(seeds=7)))
    orders = Counter((job.form, job.contestant) for job in jobs)
    assert {orders[form, HONED] for form in ("random", "noisy")} == {7}
    assert orders["random", "5 nearest neighbours"] == 7
    assert {orders[form, HONED] for form in ("by-date", FIRST_LABELS)} == {1}
    assert orders[FIRST_LABELS, "SetFit, refitted"] == 1
