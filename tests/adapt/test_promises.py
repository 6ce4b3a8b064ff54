import hashlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from honed_adapt.insight import conformal, open_set
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.insight.scores import UNKNOWN, Share, calibration, energies, softmax
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import logits_of

HIDDEN = 16


def rows(count: int, seed: int = 0, labels: int = 5, spread: float = 0.8, first: int = 1):
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((labels, HIDDEN))
    found = []
    for number in range(first, first + count):
        label = int(draw.integers(labels))
        vector = centres[label] + spread * draw.standard_normal(HIDDEN)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        key = hashlib.sha256(f"{seed} {number}".encode()).digest()
        found.append(Row(number, key, f"l{label}", "", 1.0, vector, votes=True))
    return found


@cache
def taught(count: int) -> Lane:
    lane = Lane(HIDDEN)
    lane.rebuild(rows(count))
    return lane


def test_probabilities_that_keep_their_word_have_no_calibration_error() -> None:
    draw = np.random.default_rng(0)
    odds = draw.dirichlet(np.ones(4), 20_000)
    targets = (odds.cumsum(axis=1) > draw.random((len(odds), 1))).argmax(axis=1)
    honest = calibration(odds, targets)
    assert honest.error < 0.02
    bold = calibration(softmax(3 * np.log(odds)), targets)
    assert bold.error > 0.15
    assert bold.brier > honest.brier
    assert honest.rows == 20_000


def test_the_worst_answers_have_the_worst_scores() -> None:
    worst = calibration(np.array([[1.0, 0.0]]), np.array([1]))
    assert (worst.error, worst.brier) == (1.0, 2.0)
    none = calibration(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert none == UNKNOWN != calibration(np.array([[1.0, 0.0]]), np.array([0]))


def test_rows_count_by_their_weight() -> None:
    odds, targets = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    assert calibration(odds, targets, np.array([3.0, 1.0])).brier == pytest.approx(0.5)


@pytest.mark.parametrize(("right", "total", "low", "high"), [
    (0, 0, 0.0, 1.0), (9, 10, 0.596, 0.982), (0, 10, 0.0, 0.278), (500, 1000, 0.469, 0.531),
])  # fmt: skip
def test_the_interval_of_a_share_is_wilsons(right, total, low, high) -> None:
    assert Share(right, total).interval == pytest.approx((low, high), abs=1e-3)


def test_energies_are_those_of_the_kernels() -> None:
    lane = taught(250)
    vectors = np.stack([row.vector for row in rows(50, seed=5)])
    head = lane.head
    logits = logits_of(head, vectors)
    expected = -head.temperature * np.log(np.exp(logits / head.temperature).sum(axis=1))
    assert energies(logits, head.temperature) == pytest.approx(expected)


@pytest.mark.parametrize("count", [60, 250])
def test_known_texts_are_called_strange_as_rarely_as_wanted(count: int) -> None:
    lane = taught(count)
    head = Promises().add(lane.head, lane.sampled, Wanted(false_alarms=0.1))
    assert head.threshold is not None
    known = np.stack([row.vector for row in rows(2_000, seed=7)])
    free = energies(logits_of(head, known), head.temperature)
    assert (free > head.threshold).mean() == pytest.approx(0.1, abs=0.06)
    strange = np.random.default_rng(1).standard_normal((500, HIDDEN)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    unknown = energies(logits_of(head, strange), head.temperature)
    assert (unknown > head.threshold).mean() > 0.3
    assert open_set.auroc(free, unknown) > 0.75


@pytest.mark.parametrize("audited", [False, True])
def test_beside_an_own_head_known_texts_are_called_strange_as_rarely(audited: bool) -> None:
    base = taught(8).head  # poor, so that what is learned counts
    lane = Lane(HIDDEN, base=base)
    lane.apply([replace(row, votes=audited) for row in rows(250, seed=3)])
    assert (lane.weighing.weight > 0) == audited
    head = Promises().add(lane.head, lane.sampled, Wanted(false_alarms=0.1))
    assert head.threshold is not None
    known = np.stack([row.vector for row in rows(2_000, seed=7)])
    free = energies(logits_of(head, known), head.temperature)
    assert (free > head.threshold).mean() == pytest.approx(0.1, abs=0.06)
    assert head.conformal is not None


def test_auroc_counts_ties_half() -> None:
    assert open_set.auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    assert open_set.auroc(np.array([1.0]), np.array([1.0])) == 0.5
    assert open_set.auroc(np.array([0.0, 2.0]), np.array([1.0])) == 0.5


def test_with_few_rows_nothing_is_promised() -> None:
    lane = taught(12)
    head = Promises().add(lane.head, lane.sampled, Wanted())
    assert (head.threshold, head.conformal) == (None, None)
    empty = Lane(HIDDEN)
    promises = Promises()
    assert promises.add(empty.head, empty.sampled, Wanted()) is empty.head
    assert promises.calibration == UNKNOWN


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_label_as_often_as_promised(coverage: float) -> None:
    lane = taught(250)
    promises = Promises()
    head = promises.add(lane.head, lane.sampled, Wanted(coverage=coverage))
    fresh = rows(2_000, seed=11, first=1_000)
    assert head.conformal is not None
    missed = promises.test(fresh).values()
    # The best label is always in the set, so that there may be more than was asked for.
    assert coverage - 0.04 < 1 - sum(missed) / len(missed) < 1


def test_sets_follow_audits_when_traffic_is_harder() -> None:
    lane, promises, wanted = taught(250), Promises(), Wanted(coverage=0.9)
    missed: list[bool] = []
    for start in range(0, 3_000, 50):
        promises.add(lane.head, lane.sampled, wanted)
        harder = rows(50, seed=start, spread=4.0, first=10_000 + start)
        missed += promises.test(harder).values()
    assert sum(missed[:200]) > 40
    assert sum(missed[-1_000:]) / 1_000 == pytest.approx(0.1, abs=0.03)


def test_a_forgotten_audit_takes_its_vote_along() -> None:
    lane, promises = taught(250), Promises({1: True, 2: True, 3: False})
    before = promises.add(lane.head, lane.sampled, Wanted()).conformal
    promises.forget([1, 2, 77])
    after = promises.add(lane.head, lane.sampled, Wanted()).conformal
    assert before < after == Promises({3: False}).add(lane.head, lane.sampled, Wanted()).conformal


def test_only_audits_are_noted_and_an_unknown_label_is_a_miss() -> None:
    lane, promises = taught(250), Promises()
    assert promises.test(rows(5, seed=3)) == {}  # nothing serves yet
    promises.add(lane.head, lane.sampled, Wanted())
    audit, plain = rows(2, seed=3, first=900)
    noted = promises.test([replace(audit, label="never heard of"), replace(plain, votes=False)])
    assert noted == {900: True} == promises.misses


def test_audits_of_texts_that_were_learned_do_not_make_sets_smaller() -> None:
    lane, promises = taught(250), Promises()
    promises.add(lane.head, lane.sampled, Wanted())
    again = [replace(row, position=row.position + 1_000) for row in rows(250)]
    first, second = rows(1, seed=3, first=2_000)[0], rows(1, seed=4, first=2_001)[0]
    twice = replace(first, position=2_002)
    voters = lane.unknown_audits([*again, first, second, twice, replace(second, votes=False)])
    assert promises.test(voters).keys() == {2_000, 2_001}


def test_the_level_is_a_sum_over_audits() -> None:
    assert conformal.level(0.9, []) == pytest.approx(0.1)
    missed = [True, False, False]
    assert conformal.level(0.9, missed) == conformal.level(0.9, missed[::-1])
    assert conformal.level(0.9, [True] * 10) == pytest.approx(0.1 - 0.09)
    own = np.linspace(0, 1, 101)
    assert conformal.least_probability(own, 0.0) == 0.0
    assert conformal.least_probability(own, 2.0) == 1.0
    assert conformal.least_probability(own, 0.1) == pytest.approx(0.09)
    assert conformal.least_probability(own[:10], 0.1) is None
