"""What to label next, what to doubt, and why: the pure parts."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from honed_adapt.head import Features
from honed_adapt.insight.explain import words
from honed_adapt.insight.noise import doubts
from honed_adapt.insight.review import apart, drawn, lot, shuffled_in
from honed_adapt.instant.calibration import Sample, sample_of
from honed_adapt.instant.discriminant import Shrinkage, Sums, data_prior, solve
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.instant.leave_out import discriminant_moved, regression_moved
from honed_adapt.instant.regression import Regression
from honed_adapt.instant.ridge import Ridge, Spec
from honed_adapt.process.answers import answer
from honed_adapt.process.questions import Explain, Suspect

HIDDEN = 12


def rows(count: int, labels: int = 4, seed: int = 0) -> list[Row]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((labels, HIDDEN))
    found = []
    for number in range(1, count + 1):
        label = int(draw.integers(labels))
        vector = (centres[label] + 0.7 * draw.standard_normal(HIDDEN)).astype(np.float32)
        vector /= np.linalg.norm(vector)
        key = hashlib.sha256(f"{number}".encode()).digest()
        found.append(Row(number, key, f"l{label}", f"s{number % 2}", 1.0 + number % 3, vector))
    return found


def test_answers_are_drawn_with_the_wanted_share_and_for_ever() -> None:
    names = [f"{number:032x}" for number in range(20_000)]
    found = drawn(names, 0.05)
    assert len(found) == pytest.approx(1_000, abs=120)
    assert drawn(names[::-1], 0.05) == found
    assert all(lot(one) < lot(other) < 0.05 for one, other in pairwise(found))
    assert set(drawn(names, 0.02)) == set(found[: len(drawn(names, 0.02))])
    assert drawn(names, 0.0) == []
    assert len(drawn(names, 1.0)) == len(names)


def test_vectors_far_apart_are_taken_the_most_wanted_first() -> None:
    line = np.array([[0.0], [0.1], [9.0], [5.0], [8.9]], np.float32)
    assert apart(line, 3) == [0, 2, 3]
    assert sorted(apart(line, 9)) == [0, 1, 2, 3, 4]
    assert apart(np.zeros((3, 2), np.float32), 2) == [0, 1]
    assert apart(line, 0) == []


def test_audits_are_mixed_in_and_both_keep_their_order() -> None:
    mixed = shuffled_in(["a", "b", "c", "d"], ["1", "2", "3"])
    assert [one for one in mixed if one.isalpha()] == ["a", "b", "c", "d"]
    assert [one for one in mixed if one.isdigit()] == ["1", "2", "3"]
    assert mixed == shuffled_in(["a", "b", "c", "d"], ["1", "2", "3"])
    assert shuffled_in([], ["1"]) == ["1"]
    assert shuffled_in(["a"], []) == ["a"]


def test_the_least_likely_labels_are_doubted_first() -> None:
    odds = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1]])
    targets = np.array([0, 0, 0])
    first, second = doubts([5, 6, 7], ["a", "b", "c"], odds, targets, 2)
    assert (first.position, first.suggested) == (6, "b")
    assert (first.probability, first.suggested_probability) == pytest.approx((0.1, 0.8))
    assert second.position == 7


def test_words_stand_where_they_say() -> None:
    text = "Don\u2019t cancel my e-mail (#12), \u624b\u673a!"
    found = words(text, 99)
    assert [word.text for word in found] == [
        "Don\u2019t", "cancel", "my", "e-mail", "12", "\u624b", "\u673a",
    ]  # fmt: skip
    for word in found:
        start, end = word.bytes_of(text)
        assert text.encode()[start:end].decode() == word.text
    assert found[1].taken_out("Don\u2019t cancel my") == "Don\u2019t my"
    assert words("hi", 9)[0].taken_out("hi") == ""
    assert [word.text for word in words(text, 2)] == ["Don\u2019t", "cancel"]


def test_what_a_row_moves_is_what_its_removal_undoes() -> None:
    labelled = rows(60)
    vector = rows(1, seed=9)[0].vector
    sums, weights = Sums(HIDDEN), np.array([row.weight for row in labelled])
    vectors = np.stack([row.vector for row in labelled])
    names = [row.label for row in labelled]
    sums.add(names, vectors, weights)
    sums.add(["alone"], vectors[:1] * 0.5, weights[:1])
    labels = sorted(sums.labels)
    prior = data_prior(sums, Shrinkage())
    solution = solve(sums, labels, prior)
    targets = np.array([labels.index(name) for name in names])
    moved = discriminant_moved(solution, Sample(vectors, targets, weights), vector)
    with_all = solution.weight @ vector + solution.bias
    for at in range(0, 60, 7):
        part = slice(at, at + 1)
        sums.remove(names[part], vectors[part], weights[part])
        without = solve(sums, labels, prior)
        sums.add(names[part], vectors[part], weights[part])
        change = with_all - (without.weight @ vector + without.bias)
        assert moved[at] - moved[at].mean() == pytest.approx(change - change.mean(), abs=1e-6)
    alone = Sample(vectors[:1] * 0.5, np.array([labels.index("alone")]), weights[:1])
    (gone,) = discriminant_moved(solution, alone, vector)
    sums.remove(["alone"], vectors[:1] * 0.5, weights[:1])
    without = solve(sums, labels, prior)
    change = with_all - (without.weight @ vector + without.bias)
    assert gone - gone.mean() == pytest.approx(change - change.mean(), abs=1e-6)


def test_the_regression_loses_what_a_row_moved() -> None:
    labelled, vector = rows(60), rows(1, seed=9)[0].vector
    labels = sorted({row.label for row in labelled})
    spec, whole = Spec(Features(64, 0.8, 7), 0.1), Regression()
    list(whole.build(spec, labelled))

    def balanced(ridge: Ridge, left: list[Row]) -> np.ndarray:
        weight = np.array([sum(r.weight for r in left if r.label == name) for name in labels])
        return ridge.scores(vector[None], labels).values[0] * weight**-0.5

    weight = np.array([sum(r.weight for r in labelled if r.label == name) for name in labels])
    sample = sample_of(labels, labelled)
    moved = regression_moved(whole.ridge, labels, weight, 0.5, sample, vector)
    before = balanced(whole.ridge, labelled)
    for at in range(0, 60, 7):
        left = labelled[:at] + labelled[at + 1 :]
        without = Regression()
        list(without.build(spec, left))
        assert moved[at] == pytest.approx(before - balanced(without.ridge, left), abs=1e-9)


def test_the_lane_answers_what_it_is_asked() -> None:
    labelled = rows(80)
    wrong = Row(81, b"w" * 32, "l0", "mallory", 1.0, next(
        row.vector for row in labelled if row.label == "l2") * np.float32(0.99))  # fmt: skip
    lane = Lane(HIDDEN)
    lane.rebuild([*labelled, wrong])
    found = answer(Suspect(7, "m", 3), lane)
    assert (found.number, found.fault, len(found.doubts)) == (7, "", 3)
    assert found.doubts[0].position == 81
    assert found.doubts[0].suggested == "l2"
    assert {one.submitter: one.labels for one in found.standings}["mallory"] == 1
    asked = labelled[3]
    why = answer(Explain(8, "m", asked.label, 5, asked.vector), lane)
    assert why.nearest[0].position == asked.position
    assert why.nearest[0].similarity == pytest.approx(1)
    sizes = [abs(one.influence) for one in why.influential]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 5
    nothing = answer(Explain(9, "m", "never heard of", 5, asked.vector), lane)
    assert {one.influence for one in nothing.influential} == {0.0}


def test_an_empty_or_unbuilt_lane_says_so() -> None:
    vector = np.ones(HIDDEN, np.float32)
    empty = Lane(HIDDEN)
    assert answer(Suspect(1, "m", 3), empty).doubts == ()
    assert answer(Explain(1, "m", "x", 3, vector), empty).nearest == ()
    for question in (Suspect(1, "m", 3), Explain(1, "m", "x", 3, vector)):
        assert "being built" in answer(question, None).fault
    lonely = Lane(HIDDEN)
    lonely.rebuild(rows(1))
    assert answer(Suspect(1, "m", 3), lonely).doubts == ()
