"""Ridge regression against its definition: solved at once, left out one by one, taken back."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from honed_adapt.head import Features
from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.features import SEED, fourier
from honed_adapt.instant.ridge import Ridge, Spec, build
from honed_adapt.instant.slices import finish, invert

SPEC = Spec(Features(300, 0.8, SEED), 0.1)
HIDDEN = 6
RANDOM = np.random.default_rng(2)
VECTORS = (RANDOM.normal(size=(400, HIDDEN)) / 2).astype(np.float32)
LABELS = [f"label {at}" for at in RANDOM.integers(0, 5, 400)]
WEIGHTS = RANDOM.choice([0.2, 1.0, 3.0], 400)
NAMES = sorted(set(LABELS))


def built(rows: Sequence[int]) -> Ridge:
    """Made at once from some of the rows."""
    at = list(rows)
    return finish(build(SPEC, [LABELS[i] for i in at], VECTORS[at], WEIGHTS[at]))


def learn(ridge: Ridge, rows: Sequence[int], sign: int = 1) -> None:
    at = list(rows)
    ridge.learn([LABELS[i] for i in at], VECTORS[at], sign * WEIGHTS[at])


def expected(rows: Sequence[int]) -> Floats:
    """The textbook solution."""
    at = list(rows)
    phi, w = fourier(VECTORS[at], SPEC.features), WEIGHTS[at]
    targets = np.array([[LABELS[i] == name for name in NAMES] for i in at], float)
    gram = (phi * w[:, None]).T @ phi + SPEC.penalty * np.eye(SPEC.features.count)
    solved: Floats = np.linalg.solve(gram, (phi * w[:, None]).T @ targets).T
    return solved


def near(got: Floats, wanted: Floats, relative: float = 1e-9) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=relative * np.abs(wanted).max())


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_an_inverse_by_bordering_is_an_inverse(size: int) -> None:
    rows = np.random.default_rng(size).normal(size=(size + 3, size))
    matrix = rows.T @ rows + np.eye(size)
    inverse = matrix.copy()
    assert sum(1 for _ in invert(inverse)) >= size / 256
    near(inverse @ matrix, np.eye(size))


def test_it_solves_the_regularised_least_squares() -> None:
    near(built(range(300)).weights(NAMES), expected(range(300)))


@pytest.mark.parametrize("batch", [1, 7, 64, 150])
def test_labels_one_by_one_or_many_at_once_are_the_same(batch: int) -> None:
    ridge = built(range(50))
    for start in range(50, 350, batch):
        learn(ridge, range(start, min(start + batch, 350)))
    near(ridge.weights(NAMES), expected(range(350)))


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=12))
def test_adding_and_forgetting_in_any_order_equals_a_fresh_build(
    steps: list[tuple[bool, int]],
) -> None:
    ridge, present = built(range(40)), list(range(40))
    absent = list(range(40, 400))
    for adds, count in steps:
        if adds:
            moved, absent = absent[:count], absent[count:]
            learn(ridge, moved)
            present += moved
        else:
            moved, present = present[1 : count + 1], [*present[:1], *present[count + 1 :]]
            ridge.forget([LABELS[i] for i in moved], VECTORS[moved], WEIGHTS[moved])
            absent += moved
    near(ridge.weights(NAMES), built(present).weights(NAMES))


def test_what_was_wholly_forgotten_leaves_nothing() -> None:
    ridge = built(range(100))
    gone = [at for at in range(100) if LABELS[at] == NAMES[0]]
    ridge.forget([NAMES[0]] * len(gone), VECTORS[gone], WEIGHTS[gone])
    assert not ridge.weights([NAMES[0], "never seen"]).any()
    ridge.learn(["new"], VECTORS[:1], np.ones(1))
    assert ridge.weights(["new"]).any()


def test_rows_left_out_score_as_after_a_refit() -> None:
    rows = list(range(120))
    ridge = built(rows)
    targets = np.array([NAMES.index(LABELS[i]) for i in rows])
    got = ridge.scores(VECTORS[rows], NAMES).without(targets, WEIGHTS[rows]).values
    for row in rows[::9]:
        refit = expected([other for other in rows if other != row])
        near(got[row], (fourier(VECTORS[[row]], SPEC.features) @ refit.T)[0])


def test_scores_that_are_followed_are_those_asked_for_anew() -> None:
    ridge = built(range(60))
    ridge.follow("some", [3, 4, 5], VECTORS[3:6])
    for at in range(60, 160):
        learn(ridge, [at])
    ridge.learn(["new label"], VECTORS[7:8], np.ones(1))
    ridge.follow("some", [4, 5, 99], VECTORS[[4, 5, 99]])
    learn(ridge, range(10), sign=-1)
    names = [*NAMES, "new label", "never seen"]
    followed, anew = ridge.followed("some", names), ridge.scores(VECTORS[[4, 5, 99]], names)
    near(followed.values, anew.values)
    near(followed.leverage, anew.leverage)


def test_an_inverse_that_is_worn_is_made_anew() -> None:
    """Rounding adds up over very many labels; here it is added at once."""
    ridge = built(range(80))
    ridge._inverse += 1e-3 * np.random.default_rng(1).normal(size=ridge._inverse.shape)
    learn(ridge, range(80, 90))
    ridge.refine()
    near(ridge.weights(NAMES), expected(range(90)))
