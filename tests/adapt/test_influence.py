"""How much of an arriving label counts."""

import random
from collections import deque

import pytest

from honed_adapt.trust.influence import Cap, Recent, influence

CAP = Cap(share=0.05, least_rows=200)


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
def test_where_few_label_much_only_one_who_labels_far_more_is_capped(honest):
    """At a share of 0.05 there is room for twenty: fewer would all be held back, ever more so."""
    draw, recent, order = random.Random(0), Recent({}, 0), deque[tuple[str, float]]()
    counted: dict[str, list[float]] = {}
    for _ in range(6_000):
        loud = draw.random() < 0.3
        who = "mallory" if loud else f"honest-{draw.randrange(honest)}"
        counts = influence(who, 1.0, recent, CAP)
        recent.add(who, counts)
        order.append((who, counts))
        counted.setdefault(who, []).append(counts)
        if len(order) > CAP.window:
            gone, weight = order.popleft()
            recent.weights[gone] -= weight
            recent.rows -= 1
    mallory = counted.pop("mallory")
    assert sum(mallory) / len(mallory) < 0.45
    assert all(sum(each) / len(each) > 0.9 for each in counted.values())


def test_the_nameless_and_the_trusted_are_never_capped():
    recent = crowd(30)
    recent.add("", 1000.0)
    assert recent.rows == 1500
    recent.add("expert", 1000.0)
    assert influence("", 1.0, recent, CAP) == 1.0
    assert influence("expert", 1.0, recent, CAP) < 1.0
    assert influence("expert", 1.0, recent, Cap(trusted={"expert"})) == 1.0
    assert influence("expert", 1.0, recent, Cap(share=1.0)) == 1.0
