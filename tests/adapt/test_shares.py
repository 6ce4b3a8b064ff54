"""Soft labels in the lane: each is rows of one text with its parts of the weight, and one row."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from honed_adapt.head import Features
from honed_adapt.instant.calibration import HeldOut, fit_temperature, leave_one_out, sample_of
from honed_adapt.instant.choices import REGRESSION, choose
from honed_adapt.instant.discriminant import Shrinkage, Sums, data_prior, solve
from honed_adapt.instant.features import SEED
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.instant.present import labelled
from honed_adapt.instant.ridge import Ridge, Spec, build
from honed_adapt.instant.slices import finish
from honed_adapt.shares import Shares, shared
from honed_adapt.trust.standing import standings

HIDDEN = 8
RANDOM = np.random.default_rng(4)
CENTRES = 2 * RANDOM.normal(size=(4, HIDDEN))
VECTORS = (CENTRES[np.arange(80) % 4] + RANDOM.normal(size=(80, HIDDEN))).astype(np.float32)
SOFT = shared([("b", 0.3), ("a", 0.7)])
SPREAD = shared([("a", 0.2), ("b", 0.2), ("c", 0.6)])
SPEC = Spec(Features(120, 2.0, SEED), 0.1)


def row(at: int, said: str | Shares, weight: float = 1.0, text: int | None = None) -> Row:
    text = at if text is None else text
    key = hashlib.sha256(str(text).encode()).digest()
    label, shares = (said, ()) if isinstance(said, str) else (said[0][0], said)
    return Row(at, key, label, "", weight, VECTORS[text % 80], shares=shares)


def rows() -> list[Row]:
    """Every fifth is soft, in two or three ways."""
    said = {0: SOFT, 1: SPREAD}
    return [row(at, said.get(at % 10 // 5, "") if at % 5 == 0 else "abcd"[at % 4], 1.5) for at in
            range(80)]  # fmt: skip


def twins(of: list[Row]) -> list[Row]:
    """The same with one row for each share, of texts that nobody else has."""
    return [
        Row(100 * one.position + n, hashlib.sha256(f"{one.position} {n}".encode()).digest(),
            label, "", one.weight * share, one.vector)
        for one in of
        for n, (label, share) in enumerate(one.shares or ((one.label, 1.0),))
    ]  # fmt: skip


def near(got: np.ndarray, wanted: np.ndarray, relative: float = 1e-9) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=relative * np.abs(wanted).max())


def test_shares_are_ordered_by_size_then_name_and_sum_to_one() -> None:
    assert SPREAD == (("c", 0.6), ("a", 0.2), ("b", 0.2))
    found = shared([("x", 0.333333), ("y", 0.333333), ("z", 0.333333)])
    assert sum(share for _, share in found) == pytest.approx(1, abs=1e-15)


def test_a_soft_label_teaches_as_one_row_for_each_share_would() -> None:
    soft, hard = Lane(HIDDEN), Lane(HIDDEN)
    soft.rebuild(rows())
    hard.rebuild(twins(rows()))
    assert soft.effective == 80
    assert hard.effective > 80
    assert soft.solution is not None
    assert hard.solution is not None
    order = [hard.solution.labels.index(name) for name in soft.solution.labels]
    near(soft.solution.weight, hard.solution.weight[order])
    near(soft.solution.bias, hard.solution.bias[order])


def test_a_regression_learns_shares_as_one_row_each_and_takes_them_back() -> None:
    said, vectors = [one.said for one in rows()], VECTORS
    weights = np.full(80, 1.5)
    wanted = finish(build(SPEC, *labelled(rows()))).weights("abcd")
    near(finish(build(SPEC, said, vectors, weights)).weights("abcd"), wanted)
    ridge: Ridge = finish(build(SPEC, said[:20], vectors[:20], weights[:20]))
    before = ridge.weights("abcd")
    for at in range(20, 80):
        ridge.learn(said[at : at + 1], vectors[at : at + 1], weights[at : at + 1])
    near(ridge.weights("abcd"), wanted)
    ridge.forget(said[20:], vectors[20:], weights[20:])
    near(ridge.weights("abcd"), before)


def test_a_soft_row_left_out_scores_as_after_a_refit() -> None:
    everything = [*rows(), row(90, shared([("d", 0.5), ("alone", 0.3), ("a", 0.2)]))]
    labels = ["a", "b", "c", "d", "alone"]
    sums = Sums(HIDDEN)
    sums.add(*labelled(everything))
    solution = solve(sums, labels, data_prior(sums, Shrinkage()))
    got = leave_one_out(solution, sample_of(labels, everything))
    for at, one in enumerate(everything):
        rest = Sums(HIDDEN)
        rest.add(*labelled([other for other in everything if other is not one]))
        refit = solve(rest, labels, solution.prior)
        wanted = refit.weight @ one.vector.astype(float) + refit.bias
        near(got.logits[at] - got.logits[at, 0], wanted - wanted[0])


def test_a_soft_row_asks_for_a_temperature_by_all_its_shares() -> None:
    """As many sure rows that disagree in those parts would."""
    lane = Lane(HIDDEN)
    lane.rebuild(rows())
    held = lane.held_out(rows())
    assert held.shares is not None
    logits = np.concatenate([held.logits] * 4)
    one_by_one = HeldOut(
        logits,
        np.repeat(np.arange(4), len(held.targets)),
        (held.weights[:, None] * held.shares).T.ravel(),
    )
    assert fit_temperature(held, REGRESSION) == pytest.approx(
        fit_temperature(one_by_one, REGRESSION), rel=1e-9
    )


LABEL = st.tuples(
    st.integers(0, 11), st.sampled_from(["a", "b", SOFT, SPREAD]), st.sampled_from([0.2, 1.0, 10.0])
)
STEP = st.one_of(st.lists(LABEL, min_size=1, max_size=5), st.integers(0, 1_000))


@settings(deadline=None, max_examples=60)
@given(st.lists(STEP, max_size=20))
def test_any_history_of_soft_labels_equals_a_fresh_build(steps) -> None:
    lane, present, position = Lane(HIDDEN), {}, 0
    for step in steps:
        if isinstance(step, int):
            gone = [p for p in present if p % 5 == step % 5]
            lane.remove(gone)
            for p in gone:
                del present[p]
            continue
        news = [
            row(position + at, said, weight, text)
            for at, (text, said, weight) in enumerate(step, 1)
        ]
        position += len(news)
        present |= {one.position: one for one in news}
        assert not lane.apply(news).quarantined
    fresh = Lane(HIDDEN)
    fresh.rebuild(present.values(), lane.recipe, lane.votes)
    assert lane.effective == fresh.effective
    assert lane.labels == fresh.labels
    if lane.solution is not None and fresh.solution is not None:
        assert lane.head.temperature == pytest.approx(fresh.head.temperature, rel=1e-9)
        np.testing.assert_allclose(lane.solution.weight, fresh.solution.weight, atol=1e-8)


def test_the_larger_experts_learn_and_forget_soft_labels_too() -> None:
    """With features, which a few hundred rows bring, and explanations and doubts on top."""
    many = [row(at, SOFT if at % 4 == 0 else "abcd"[at % 4], text=at) for at in range(640)]
    more = [row(700 + at, SPREAD, text=700 + at) for at in range(12)]
    lane = Lane(HIDDEN)
    lane.rebuild(many)
    lane.apply(more)
    while lane.busy:
        lane.work()
    lane.take_over()
    assert lane.recipe.features
    extra = row(800, shared([("a", 0.5), ("new", 0.5)]), text=5_001)
    lane.apply([extra])
    assert np.isfinite(lane.influence([extra, many[4]], VECTORS[0], "a")).all()
    assert lane.influence([extra], extra.vector, "new")[0] > 0
    assert np.isfinite(lane.held_out(many).logits).all()
    lane.remove([800])
    fresh = Lane(HIDDEN)
    fresh.rebuild([*many, *more], lane.recipe)
    after, anew = lane.learned, fresh.learned
    assert after is not None
    assert anew is not None
    near(after.weight, anew.weight, 1e-7)
    near(after.bias, anew.bias, 1e-7)
    assert finish(choose(many, 1.0, 0.5))[1] > 0


def test_submitters_are_judged_with_soft_labels_among_theirs() -> None:
    by = [Row(o.position, o.text_hash, o.label, "ab"[o.position % 2], o.weight, o.vector,
              shares=o.shares) for o in rows()]  # fmt: skip
    assert {one.submitter: one.labels for one in standings(by)} == {"a": 40, "b": 40}
