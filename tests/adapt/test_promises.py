import hashlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.insight import conformal, open_set
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.insight.scores import UNKNOWN, Share, calibration, energies, softmax
from honed_adapt.instant.calibration import HeldOut
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.instant.present import arrays
from honed_adapt.scoring import logits_of, weights_of
from honed_kernels.head import grouped_head

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


def strangeness(head, vectors):
    """The out-of-scope scores that an engine serves."""
    which = np.zeros(len(vectors), np.int64)
    output = grouped_head(vectors, which, [weights_of(head)])
    return np.array(open_set.of_batch([head], which, output, vectors))


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
    scores = strangeness(head, arrays(rows(2_000, seed=7))[0])
    assert (scores > head.threshold).mean() == pytest.approx(0.1, abs=0.06)
    strange = np.random.default_rng(1).standard_normal((500, HIDDEN)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    unknown = strangeness(head, strange)
    assert (unknown > head.threshold).mean() > 0.3
    assert open_set.auroc(scores, unknown) > 0.75


@pytest.mark.parametrize("audited", [False, True])
def test_beside_an_own_head_known_texts_are_called_strange_as_rarely(audited: bool) -> None:
    # Poor, so that what is learned counts; own heads know no means.
    base = replace(taught(8).head, open_set=None)
    lane = Lane(HIDDEN, base=base)
    lane.apply([replace(row, votes=audited) for row in rows(250, seed=3)])
    assert (lane.weighing.weight > 0) == audited
    head = Promises().add(lane.head, lane.sampled, Wanted(false_alarms=0.1))
    assert head.threshold is not None
    scores = strangeness(head, arrays(rows(2_000, seed=7))[0])
    assert (scores > head.threshold).mean() == pytest.approx(0.1, abs=0.06)
    assert head.conformal is not None
    assert head.open_set is None


def distances(held_out: HeldOut) -> NDArray[np.float64]:
    """How far each row lies from each label, (rows, labels)."""
    assert held_out.apart is not None
    count, labels = held_out.logits.shape
    return np.stack([held_out.apart(np.full(count, label)) for label in range(labels)], axis=1)


@pytest.mark.parametrize("count", [20, 120])
def test_held_out_rows_score_as_if_they_had_not_been_learned(count: int) -> None:
    """Without and with a regression, for a label in two parts, and for vectors of any length."""
    of_all = [replace(row, vector=3 * row.vector) for row in rows(count)]
    of_all[4] = replace(of_all[4], votes=False, shares=((of_all[4].label, 0.7), ("l9", 0.3)))
    of_all[5] = replace(of_all[5], votes=False, label="l9")
    of_all[6] = replace(of_all[6], votes=False, label="l9")
    of_all[7] = replace(of_all[7], votes=False, shares=((of_all[7].label, 0.7), ("once", 0.3)))
    lane = Lane(HIDDEN)
    lane.rebuild(of_all)
    assert (lane.recipe.features > 0) == (count == 120)
    held_out = lane.held_out(of_all)
    assert len(held_out.targets) == count
    far = distances(held_out)
    # A label that would not exist is as far as no rows are, and nothing speaks for it.
    assert far[7, lane.labels.index("once")] == pytest.approx(1)
    for at in (0, 4, 11):
        without = lane.fresh()
        without.rebuild([row for row in of_all if row is not of_all[at]], lane.recipe)
        head = without.head
        order = [lane.labels.index(label) for label in head.labels]
        vector = of_all[at].vector[None]
        for place, label in enumerate(order):
            found = far[at, label]
            logit = logits_of(head, vector)[0, place]
            assert head.open_set is not None
            apart = replace(head, open_set=replace(head.open_set, energy=0.0))
            free = energies(logits_of(head, vector), head.temperature)
            odds = np.exp((logit + free) / head.temperature)
            answered = np.array([place]), odds, free
            score = open_set.scores([apart], np.zeros(1, np.int64), *answered, vector)
            assert score[0] == pytest.approx(found, abs=2e-5)


@pytest.mark.parametrize("light", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_row_beside_a_light_one_is_as_far_from_it_as_they_are_apart(light: float) -> None:
    one, other, *rest = rows(40)
    of_all = [one, replace(other, label=one.label, weight=light), *rest[::2]]
    lane = Lane(HIDDEN)
    lane.rebuild([row for row in of_all if row.label != one.label] + of_all[:2])
    held_out = lane.held_out([of_all[0]])
    found, away = distances(held_out)[0, held_out.targets[0]], one.vector - other.vector
    assert found == pytest.approx(away @ away, rel=1e-3)


def test_a_label_whose_weight_was_lost_in_a_sum_leaves_the_others_their_scores() -> None:
    heavy, light, *rest = rows(90)
    pair = [replace(heavy, label="new"), replace(light, label="new", weight=1e-17)]
    lane = Lane(HIDDEN)
    lane.rebuild(rest)
    lane.rebuild([*rest, *pair], lane.recipe)
    lane.remove([heavy.position])
    assert lane.recipe.features
    assert np.isfinite(strangeness(lane.head, arrays(rest)[0])).all()


def test_free_energy_counts_in_held_out_scores_as_in_served_ones() -> None:
    lane = taught(250)
    head, held_out = lane.head, lane.sampled
    assert head.open_set is not None
    assert held_out is not None
    plain = replace(held_out, apart=lambda labels: np.zeros(len(labels)))
    expected = head.open_set.energy * energies(held_out.logits)
    assert open_set.held_out_scores(head, plain) == pytest.approx(expected)
    vectors, _ = arrays(rows(9, seed=5))
    without = replace(head, open_set=replace(head.open_set, energy=0.0))
    more = strangeness(head, vectors) - strangeness(without, vectors)
    free = energies(logits_of(head, vectors), head.temperature) / head.temperature
    assert more == pytest.approx(head.open_set.energy * free, abs=1e-5)


def test_each_text_of_a_batch_is_scored_by_the_head_that_answered_it() -> None:
    own = replace(taught(20).head, open_set=None)  # scored by its energy
    heads, vectors = [taught(250).head, own], np.stack([row.vector for row in rows(9, seed=5)])
    which = np.arange(9) % 2
    output = grouped_head(vectors, which, [weights_of(head) for head in heads])
    found = np.array(open_set.of_batch(heads, which, output, vectors))
    for at, head in enumerate(heads):
        alone = strangeness(head, vectors[which == at])
        np.testing.assert_allclose(found[which == at], alone, rtol=1e-6)
    np.testing.assert_array_equal(found[which == 1], output.energy[which == 1])


def test_scores_of_a_lane_that_forgot_are_those_of_one_that_never_knew() -> None:
    lane, wanted = Lane(HIDDEN), Wanted(false_alarms=0.1)
    lane.apply(rows(120))
    _ = lane.head
    lane.remove(range(1, 31))
    fresh = lane.fresh()
    fresh.rebuild(lane.in_effect, lane.recipe, lane.votes)
    one, other = (Promises().add(of.head, of.sampled, wanted) for of in (lane, fresh))
    assert one.threshold == pytest.approx(other.threshold, abs=1e-9)
    for name, array in one.arrays().items():
        np.testing.assert_allclose(array, other.arrays()[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("count", "labels"), [(1, 1), (2, 1), (2, 2), (30, 1), (70, 1)])
def test_the_first_labels_already_tell_what_is_far(count: int, labels: int) -> None:
    lane = Lane(HIDDEN)
    lane.apply(rows(count, labels=labels))
    head = Promises().add(lane.head, lane.sampled, Wanted(false_alarms=0.1))
    near, far = arrays(rows(20, seed=5, labels=labels))[0], -lane.in_effect[0].vector[None]
    scores = strangeness(head, near)
    assert np.isfinite(scores).all()
    assert strangeness(head, far)[0] > scores.max()
    assert head.threshold is None or strangeness(head, far)[0] > head.threshold


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
