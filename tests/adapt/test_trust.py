"""Who is found suspicious, on vectors that are made up: ten classes around ten centres."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import Row
from honed_adapt.trust.sentinel import Sentinel
from honed_adapt.trust.standing import believed, standings

CLASSES, HIDDEN = 10, 48
_RNG = np.random.default_rng(3)
CENTRES = _RNG.normal(size=(CLASSES, HIDDEN))


def row(position: int, submitter: str, truth: int, label: int, votes: bool = True) -> Row:
    noise = np.random.default_rng(position).normal(size=HIDDEN)
    vector = CENTRES[truth] + 1.1 * noise
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    key = hashlib.sha256(str(position).encode()).digest()
    return Row(position, key, f"c{label}", submitter, 1.0, vector, votes)


def taught(number: int, liar_share: float, lie, honest=("ann", "bob"), votes=True) -> list[Row]:
    """Labels of honest submitters, and of `eve`, who says what `lie` makes of the truth."""
    rng, rows = np.random.default_rng(1), []
    for position in range(1, number + 1):
        truth = int(rng.integers(CLASSES))
        if rng.random() < liar_share:
            rows.append(row(position, "eve", truth, lie(rng, truth), votes))
        else:
            rows.append(row(position, rng.choice(honest), truth, truth))
    return rows


def other(rng, truth: int) -> int:
    return int((truth + rng.integers(1, CLASSES)) % CLASSES)


def neighbour(_rng, truth: int) -> int:
    return (truth + 1) % CLASSES


def careless(rng, truth: int) -> int:
    return other(rng, truth) if rng.random() < 0.15 else truth


def suspicious(rows: list[Row], trusted=()) -> list[str]:
    return [one.submitter for one in standings(rows, trusted) if one.suspicious]


@pytest.mark.parametrize("lie", [other, neighbour])
@pytest.mark.parametrize("honest", [("ann",), ("ann", "bob", "cy")])
@pytest.mark.parametrize("votes", [True, False], ids=["audits", "corrections"])
def test_who_contradicts_all_others_is_named_and_nobody_else(lie, honest, votes):
    assert suspicious(taught(400, 0.3, lie, honest, votes)) == ["eve"]


@pytest.mark.parametrize("lie", [lambda _rng, truth: truth, careless], ids=["honest", "careless"])
def test_honest_and_careless_people_are_not(lie):
    assert suspicious(taught(400, 0.3, lie)) == []


def test_a_few_labels_are_no_proof():
    rows = taught(300, 0.0, other) + [row(400 + n, "eve", 0, 1) for n in range(8)]
    assert suspicious(rows) == []


def test_whoever_teaches_most_is_the_measure():
    rows = taught(400, 0.7, lambda _rng, truth: truth)
    assert suspicious(rows) == []
    (most, *_) = standings(rows)
    assert (most.submitter, most.suspicious) == ("eve", False)


def test_a_flood_that_the_cap_has_left_little_weight_is_judged():
    team = tuple(f"ann-{n}" for n in range(12))
    rows = [
        replace(one, weight=0.01) if one.submitter == "eve" else one
        for one in taught(600, 0.3, other, team)
    ]
    assert suspicious(rows) == ["eve"]


def test_nobody_hides_behind_names_with_many_labels_of_little_weight():
    decoys = [
        replace(row(5_000 + n, f"decoy-{n % 20}", n % CLASSES, n % CLASSES), weight=0.001)
        for n in range(8_000)
    ]
    assert suspicious([*taught(600, 0.3, other), *decoys]) == ["eve"]


def test_labels_that_nobody_else_uses_are_not_held_against_one():
    rows = taught(300, 0.0, other) + [row(400 + n, "eve", n % CLASSES, 77) for n in range(60)]
    found = {one.submitter: one for one in standings(rows)}
    assert (found["eve"].judged, found["eve"].suspicious) == (0, False)


def test_the_trusted_and_the_nameless_are_spared():
    rows = taught(400, 0.3, other)
    assert suspicious(rows, trusted={"eve"}) == []
    nameless = [
        Row(r.position, r.text_hash, r.label, r.submitter.replace("eve", ""), 1.0, r.vector, True)
        for r in rows
    ]
    assert suspicious(nameless) == []


def test_a_lone_submitter_is_not_judged():
    (only,) = standings(taught(50, 0.0, other, honest=("ann",)))
    assert (only.judged, only.suspicious, only.weight_share) == (0, False, 1.0)
    assert standings([]) == []


def test_the_belief_narrows_with_evidence():
    assert believed(0, 0)[0] < 0.15 < 0.85 < believed(0, 0)[1]
    low, high = believed(90, 100)
    assert 0.8 < low < 0.9 < high < 0.96


def test_the_sentinel_keeps_a_lane_as_good_as_without_the_liar():
    rows = taught(240, 0.3, other)
    test = [row(10_000 + n, "", n % CLASSES, n % CLASSES) for n in range(300)]
    watched, naive = Lane(HIDDEN), Lane(HIDDEN)
    sentinel, named = Sentinel(), set()
    for start in range(0, len(rows), 40):
        naive.apply(rows[start : start + 40])
        kept, _ = sentinel.screen(rows[start : start + 40])
        watched.apply(kept)
        if sentinel.due(watched):
            for one in sentinel.review(watched):
                watched.remove(one.positions)
                sentinel.distrust(one.standing.submitter)
                named.add(one.standing.submitter)
    clean = Lane(HIDDEN)
    clean.rebuild([r for r in rows if r.submitter != "eve"])
    assert named == {"eve"}
    assert accuracy(watched, test) >= accuracy(clean, test) - 0.02
    assert accuracy(watched, test) > accuracy(naive, test)


def accuracy(lane: Lane, rows: list[Row]) -> float:
    solution = lane.solution
    logits = np.stack([r.vector for r in rows]) @ solution.weight.T + solution.bias
    answers = [solution.labels[at] for at in logits.argmax(axis=1)]
    return float(np.mean([a == r.label for a, r in zip(answers, rows, strict=True)]))
