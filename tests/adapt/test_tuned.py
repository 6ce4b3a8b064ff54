"""Over a tuned encoder a lane judges itself by texts that the encoder was not trained on."""

import hashlib

import numpy as np
import pytest

from honed_adapt.gate.holdout import held_out
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.insight.scores import calibration, softmax
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import logits_of
from honed_adapt.training.heads import learn

HIDDEN, LABELS = 16, 5


def texts(first: int, last: int) -> list[Row]:
    """Texts as an encoder has them that has not seen them."""
    centres = np.random.default_rng(99).standard_normal((LABELS, HIDDEN))
    found = []
    for number in range(first, last):
        draw = np.random.default_rng(number)
        label = int(draw.integers(LABELS))
        vector = centres[label] + 1.8 * draw.standard_normal(HIDDEN)
        key = hashlib.sha256(str(number).encode()).digest()
        found.append(Row(number, key, f"l{label}", "", 1.0, vector.astype(np.float32)))
    return found


def tuned_on(rows: list[Row]) -> list[Row]:
    """The same as an encoder has them that was trained on them, save those that rounds hold out."""
    held = {row.position for row in held_out(rows)}
    centre = {row.label: np.zeros(HIDDEN, np.float32) for row in rows}
    for label in centre:
        centre[label] = np.mean([row.vector for row in rows if row.label == label], axis=0)
    return [
        row
        if row.position in held
        else Row(
            row.position, row.text_hash, row.label, "", 1.0,
            (0.05 * row.vector + 0.95 * centre[row.label]).astype(np.float32),
        )
        for row in rows
    ]  # fmt: skip


def lane_of(rows: list[Row], *, tuned: bool) -> Lane:
    lane = Lane(HIDDEN, tuned=tuned)
    lane.rebuild(rows)
    return lane


def test_what_it_promises_holds_for_texts_that_the_encoder_has_not_seen() -> None:
    known, asked = tuned_on(texts(1, 521)), texts(1_000, 3_000)
    vectors = np.stack([row.vector for row in asked])
    wrong = {}
    for tuned in (False, True):
        lane, promises = lane_of(known, tuned=tuned), Promises()
        head = promises.add(lane.head, lane.sampled, Wanted(coverage=0.95))
        odds = softmax(logits_of(head, vectors), head.temperature)
        targets = np.array([head.labels.index(row.label) for row in asked])
        truth = calibration(odds, targets)
        own = odds[np.arange(len(odds)), targets]
        assert head.conformal is not None
        covered = float((own >= np.minimum(head.conformal, odds.max(axis=1))).mean())
        wrong[tuned] = truth.error, truth.brier - promises.calibration.brier, 0.95 - covered
    assert wrong[True] == pytest.approx((0, 0, 0), abs=0.06)
    assert wrong[False][0] > 2 * wrong[True][0]
    assert wrong[False][1] > 0.1


@pytest.mark.parametrize("tuned", [False, True])
def test_it_asks_just_those_that_rounds_hold_out(tuned: bool) -> None:
    rows = texts(1, 521)
    lane = lane_of(rows, tuned=tuned)
    lane.remove(range(1, 21))  # others are the first five of their classes now
    assert lane.sampled is not None
    held = held_out(lane.in_effect)
    asked = lane.held_out(sorted(held, key=lambda row: row.text_hash))
    same = np.array_equal(lane.sampled.targets, asked.targets)
    assert same == tuned
    assert not tuned or np.allclose(lane.sampled.logits, asked.logits)


def test_while_few_are_held_out_it_asks_all() -> None:
    rows = texts(1, 200)
    assert 0 < len(held_out(rows)) < 64
    heads = [lane_of(rows, tuned=tuned).head for tuned in (False, True)]
    assert heads[0].temperature == heads[1].temperature


def test_one_that_forgot_is_one_that_never_knew() -> None:
    rows = tuned_on(texts(1, 601))
    lane = lane_of([], tuned=True)
    for start in range(0, len(rows), 50):
        lane.apply(rows[start : start + 50])
        while lane.busy:
            lane.work()
    assert lane.recipe.features > 0
    _ = lane.head
    lane.remove(row.position for row in rows[::10])
    fresh = lane.fresh()
    fresh.rebuild(lane.in_effect, lane.recipe, lane.votes)
    one, other = (Promises().add(of.head, of.sampled, Wanted()) for of in (lane, fresh))
    assert one.temperature == pytest.approx(other.temperature, rel=1e-9)
    assert one.threshold == pytest.approx(other.threshold, abs=1e-9)
    assert one.conformal == pytest.approx(other.conformal, abs=1e-9)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-5, atol=1e-6)


def test_a_candidates_head_is_what_such_a_lane_makes() -> None:
    rows = tuned_on(texts(1, 521))
    head = learn(rows, HIDDEN, wanted=Wanted(), tuned=True)
    assert head.temperature == lane_of(rows, tuned=True).head.temperature
