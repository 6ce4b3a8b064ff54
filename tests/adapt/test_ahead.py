"""A candidate that catches up in the learning loop, while the lane that serves goes on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_loop_recipe import LABELS, STATE, Process, say

from honed_adapt.feedback.log import FeedbackLog, Kind, NewFeedback, Selector
from honed_adapt.instant.lane import Lane, Recipe
from honed_adapt.process import messages

OTHER = "e" * 64


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    log = FeedbackLog(tmp_path / "feedback.sqlite")
    yield log
    log.close()


@pytest.fixture
def process(tmp_path: Path, log: FeedbackLog) -> Iterator[Process]:
    process = Process(tmp_path, log, {})
    yield process
    process.close()


def label(log: FeedbackLog, text: str) -> int:
    log.submit([NewFeedback("m", text, text, text.split()[0], Kind.AUDIT)]).result()
    return log.last_position("m")


def heard(process: Process, position: int) -> list[messages.Revision]:
    """What is offered of one new entry."""
    before = len(process.offers)
    process.loop.hear(messages.Wake(position))
    process.loop.step()
    return process.offers[before:]


def test_the_serving_lane_learns_while_a_candidate_catches_up(
    log: FeedbackLog, process: Process
) -> None:
    process.learn(say(log, range(60)))
    process.told(replace(STATE, next_encoder=OTHER))
    process.loop.step()  # the first slice of many
    (offer,) = heard(process, label(log, f"{LABELS[0]} 700"))
    assert (offer.next_encoder, offer.learned) == ("", 61)
    process.learn()
    ahead = process.offers[-2]
    assert (ahead.next_encoder, ahead.revision) == (OTHER, offer.revision)
    assert ahead.learned == 61


def test_what_it_offers_comes_first_and_is_what_a_new_lane_would_be(
    log: FeedbackLog, process: Process
) -> None:
    process.learn(say(log, range(100)))
    process.told(replace(STATE, next_encoder=OTHER))
    process.learn()
    position = label(log, f"{LABELS[1]} 800")
    ahead, serving = heard(process, position)
    assert (ahead.next_encoder, serving.next_encoder) == (OTHER, "")
    assert ahead.revision == serving.revision == position

    fresh = Lane(8)
    served = process.loop.lane("m")
    vectors = {row.position: 7 * row.vector for row in served.in_effect}
    rows = [replace(row, vector=vectors[row.position]) for row in served.in_effect]
    fresh.rebuild(rows[:-1])
    fresh.apply(rows[-1:])
    assert ahead.head.labels == fresh.head.labels
    np.testing.assert_allclose(ahead.head.weight, fresh.head.weight, rtol=1e-4, atol=1e-5)


def test_once_it_serves_the_same_lane_goes_on(log: FeedbackLog, process: Process) -> None:
    process.learn(say(log, range(100)))
    process.told(replace(STATE, next_encoder=OTHER))
    process.learn()
    ahead = process.offers[-2]
    promoted = replace(
        STATE, encoder_digest=OTHER, epoch=2, revision=ahead.revision, recipe=ahead.recipe
    )
    process.told(promoted)
    offer = process.learn()
    assert (offer.epoch, offer.next_encoder, offer.recipe) == (2, "", ahead.recipe)
    np.testing.assert_allclose(offer.head.weight, ahead.head.weight, rtol=0, atol=1e-6)
    (after,) = heard(process, label(log, f"{LABELS[2]} 900"))
    assert after.learned == 101


def test_what_is_deleted_meanwhile_leaves_neither_label_nor_vector(
    log: FeedbackLog, process: Process
) -> None:
    process.learn(say(log, range(60)))
    gone = [record.feedback_id for record in log.list("m", 0, 100)][40:45]
    process.told(replace(STATE, next_encoder=OTHER))
    process.loop.step()
    log.delete("m", Selector(gone), "ada").result()
    process.learn(log.last_position("m"))
    ahead = process.offers[-2]
    assert (ahead.next_encoder, ahead.learned) == (OTHER, 55)
    positions = range(1, log.last_position("m") + 1)
    for digest in (STATE.encoder_digest, OTHER):
        assert len(process.vectors.load("m", digest, positions)) == 55


def test_nothing_is_learned_ahead_any_more_when_nobody_wants_it(
    log: FeedbackLog, process: Process
) -> None:
    process.learn(say(log, range(60)))
    process.told(replace(STATE, next_encoder=OTHER))
    process.learn()
    process.told(STATE)
    assert [offer.next_encoder for offer in heard(process, label(log, f"{LABELS[0]} 5"))] == [""]


@pytest.mark.parametrize("catching_up", [False, True])
@pytest.mark.parametrize("tuned", [False, True])
def test_over_a_tuned_encoder_a_lane_is_judged_by_what_rounds_hold_out(
    log: FeedbackLog, process: Process, tuned: bool, catching_up: bool
) -> None:
    process.tuned = {OTHER} if tuned else set()
    process.learn(say(log, range(450)))
    served = process.loop.lane("m").in_effect
    change = {"next_encoder": OTHER} if catching_up else {"encoder_digest": OTHER, "epoch": 2}
    before = len(process.offers)
    process.told(replace(STATE, recipe=None, **change))
    process.learn()
    offer = process.offers[before]
    assert offer.next_encoder == (OTHER if catching_up else "")
    temperatures = {}
    for judged in (False, True):
        lane = Lane(8, tuned=judged)
        lane.rebuild(
            [replace(row, vector=7 * row.vector) for row in served], Recipe.of(offer.recipe)
        )
        temperatures[judged] = lane.head.temperature
    assert offer.head.temperature == pytest.approx(temperatures[tuned], rel=1e-4)
    assert offer.head.temperature != pytest.approx(temperatures[not tuned], rel=1e-3)
