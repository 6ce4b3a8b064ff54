"""How much of an arriving label counts."""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import repeat
from pathlib import Path

import pytest

from honed_adapt.feedback.log import FeedbackLog, Kind, NewFeedback
from honed_adapt.trust.influence import Cap, Recent, influence

CAP = Cap(share=0.05, least_rows=200)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    with closing(FeedbackLog(tmp_path / "log.sqlite", cap=CAP)) as log:
        yield log


def names(count: int) -> list[str]:
    return [f"s{n}" for n in range(count)]


def submit(log: FeedbackLog, who: Sequence[str], weight: float = 1.0) -> None:
    """Labels by these, a hundred in a request."""
    first = log.last_position("m")
    items = [
        NewFeedback("m", f"key {at}", f"text {at}", "a", Kind.AUDIT, submitter=name, weight=weight)
        for at, name in enumerate(who, first)
    ]
    requests = [log.submit(items[at : at + 100]) for at in range(0, len(items), 100)]
    assert all(not isinstance(ack, Exception) for one in requests for ack in one.result())


def counted(log: FeedbackLog, name: str) -> float:
    """What counts of all that somebody said."""
    return summed(log, name, "weight * influence")


def share_that_counts(log: FeedbackLog, name: str) -> float:
    return counted(log, name) / summed(log, name, "weight")


def summed(log: FeedbackLog, name: str, what: str) -> float:
    sql = f"SELECT coalesce(sum({what}), 0) FROM log WHERE submitter = ?"
    return log.ask(lambda db: db.execute(sql, (name,)).get)


def crowd(submitters: int, each: int = 50) -> Recent:
    """Recent labels of so many, as many of each."""
    return Recent({f"s{n}": float(each) for n in range(submitters)}, submitters * each)


def test_one_of_many_gets_no_more_than_the_share():
    recent = crowd(30)
    for _ in range(1000):
        recent.add("eve", influence("eve", 1.0, recent, CAP))
    share = recent.weights["eve"] / sum(recent.weights.values())
    # What is left to those over the cap adds up, but a hundredth as fast.
    assert 0.05 <= share <= 0.06


def test_those_within_the_share_count_in_full():
    assert influence("s1", 1.0, crowd(30), CAP) == 1.0
    assert influence("new", 1.0, crowd(30), CAP) == 1.0


def test_a_heavy_label_is_cut_to_what_is_left():
    recent = crowd(30)
    counts = 10.0 * influence("eve", 10.0, recent, CAP)
    assert counts == pytest.approx(10.0)
    recent.add("eve", 75.0)
    counts = 10.0 * influence("eve", 10.0, recent, CAP)
    assert (75.0 + counts) / (1500 + 75 + counts) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "recent",
    [
        Recent({}, 0),
        Recent({"import": 5000.0}, 5000),
        Recent({"ann": 700.0, "eve": 300.0}, 1000),
        crowd(9, each=100),
        crowd(30, each=6),
        Recent({"ann": 600.0, **{f"fake{n}": 1.0 for n in range(40)}}, 640),
    ],
    ids=["fresh", "one", "two", "nine", "few labels", "invented names"],
)
def test_where_the_others_could_not_do_without_nobody_is_capped(recent):
    assert influence("ann", 1.0, recent, CAP) == 1.0


@pytest.mark.parametrize("honest", [10, 15, 19])
def test_where_few_label_much_only_one_who_labels_far_more_is_capped(log, honest):
    """At a share of 0.05 there is room for twenty: fewer would all be held back, ever more so."""
    draw = random.Random(0)
    team = names(honest)
    said = ["mallory" if draw.random() < 0.3 else draw.choice(team) for _ in range(6_000)]
    submit(log, said)
    assert share_that_counts(log, "mallory") < 0.45
    assert all(share_that_counts(log, name) > 0.9 for name in team)


@pytest.mark.parametrize("weight", [0.02, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("others", [5, 20])
def test_no_run_of_labels_gets_past_the_cap(log, others, weight):
    """However long it is, however heavy its labels are, and as often as it comes again."""
    draw, team = random.Random(f"{others} {weight}"), names(others)
    submit(log, team * (1_000 // others))
    for _ in range(4):
        run, before = draw.randrange(1_500, 4_000), counted(log, "mallory")
        submit(log, ["mallory"] * run, weight)
        # Half as much again as each of the others has of a window, beyond a hundredth of each.
        room = max(50 / 0.95, 1.5 * 1_000 / others)
        assert counted(log, "mallory") - before <= 1.05 * room + 0.01 * run
        submit(log, team * (1_000 // others))
    assert all(share_that_counts(log, name) > 0.98 for name in team)


def test_where_heavy_labels_are_usual_the_cap_holds_too(log):
    """A hundred of weight 10 weigh as much as the window, and are too few to cap anybody."""
    for name in names(10) * 60:
        submit(log, [name, "mallory"], 10.0)
    assert counted(log, "mallory") < 2_000  # of 6,000; 1,000 before there were 200
    assert all(share_that_counts(log, name) > 0.9 for name in names(10))


def test_light_labels_fill_the_window_too():
    endless = repeat(("ann", 0.02, 0.0))
    assert Recent.of(endless, 0.0, CAP).rows == pytest.approx(10_000, abs=1)


def test_labels_without_a_name_leave_others_to_compare_with(log):
    submit(log, names(20) * 50)
    submit(log, [""] * 1_500)
    assert share_that_counts(log, "") == 1.0
    submit(log, ["mallory"] * 1_000)
    assert counted(log, "mallory") < 90


def test_who_takes_over_from_a_team_counts_in_full_once_it_is_gone(tmp_path):
    now, days = 0.0, 86_400.0
    with closing(FeedbackLog(tmp_path / "log.sqlite", clock=lambda: now)) as log:
        submit(log, names(20) * 50)
        now = 13.9 * days
        submit(log, ["ann"] * 500)
        assert counted(log, "ann") < 85
        now = 14.1 * days
        before = counted(log, "ann")
        submit(log, ["ann"] * 500)
        assert counted(log, "ann") - before == 500
        # Who comes back is heard, and is the measure again once they say more.
        submit(log, names(20) * 30)
        assert all(share_that_counts(log, name) == 1.0 for name in names(20))
        before = counted(log, "ann")
        submit(log, ["ann"] * 500)
        assert counted(log, "ann") - before < 10


def test_who_comes_back_is_held_to_what_they_said_before(tmp_path):
    """Else whoever waits for two weeks could come with a flood again."""
    now = 0.0
    with closing(FeedbackLog(tmp_path / "log.sqlite", clock=lambda: now)) as log:
        submit(log, names(5) * 200)
        for _ in range(5):
            submit(log, ["mallory"] * 1_500)
            now += 15 * 86_400.0
            submit(log, names(2) * 5)
        # 300 once, and a hundredth of each.
        assert counted(log, "mallory") < 450


def test_a_few_of_a_team_are_measure_enough_while_the_others_are_away(tmp_path):
    now = 0.0
    with closing(FeedbackLog(tmp_path / "log.sqlite", clock=lambda: now)) as log:
        submit(log, names(20) * 50)
        now = 15 * 86_400.0
        submit(log, names(2))
        submit(log, ["mallory"] * 1_500)
        assert counted(log, "mallory") < 100


def test_who_is_alone_and_who_takes_over_from_one_counts_in_full(log):
    submit(log, ["ann"] * 3_000)
    submit(log, ["bob"] * 1_400)
    assert (counted(log, "ann"), counted(log, "bob")) == (3_000, 1_400)


def test_an_import_counts_in_full_beside_fewer_than_a_hundred_labels(log):
    submit(log, names(5) * 19)
    submit(log, ["import"] * 3_000)
    assert counted(log, "import") == 3_000


def test_the_nameless_and_the_trusted_are_never_capped():
    recent = crowd(30)
    recent.notice("", 1000.0)
    assert recent.rows == 1500
    recent.add("expert", 1000.0)
    assert influence("", 1.0, recent, CAP) == 1.0
    assert influence("expert", 1.0, recent, CAP) < 1.0
    assert influence("expert", 1.0, recent, Cap(trusted={"expert"})) == 1.0
    assert influence("expert", 1.0, recent, Cap(share=1.0)) == 1.0
