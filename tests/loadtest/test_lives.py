"""Lives of a model with candidates that are no better: what restarts and corrections come to."""

from contextlib import closing
from functools import partial

import numpy as np
import pytest

from honed_adapt.feedback.values import Kind
from honed_adapt.gate.simulation import Ending, Setup
from honed_adapt.gate.trials import Vote, alpha_of
from honed_loadtest.lives import (
    AUDITED,
    CORRECTED,
    MISNAMED,
    RESTART_EVERY,
    Record,
    life,
    lives,
)

WIN = Vote("label-1", serving_right=False, rival_right=True)
SHORT = Setup(texts=200, disagreement=0.12)


def tried(record: Record) -> int:
    """Offers candidates until one goes on trial; its number."""
    anchors = Setup().votes(300, np.random.default_rng(1))
    number, outcome = record.offer(anchors)
    assert outcome == "candidate"
    return number


def test_null_candidates_are_seldom_promoted_whatever_restarts(tmp_path):
    found = lives(tmp_path, Setup(texts=400), AUDITED, count=3, candidates=2 * RESTART_EVERY)
    assert (found["lives"], found["restarts_each"]) == (3, 2)
    assert found["lives_with_one"] <= 1
    assert found["at_most"] > found["lives_with_one"] / 3


def test_corrections_promote_nothing_and_would_if_they_voted(tmp_path):
    alone, misnamed = tmp_path / "alone", tmp_path / "misnamed"
    endings = life(alone, SHORT, CORRECTED, RESTART_EVERY + 1, seed=3)
    assert {ending.outcome for ending in endings} == {"open", "refused"}
    assert sum(ending.outcome == "open" for ending in endings) > RESTART_EVERY / 2
    assert {ending.audits for ending in endings} == {0}
    same = life(misnamed, SHORT, MISNAMED, 3, seed=3)
    assert "promoted" in {ending.outcome for ending in same}


def test_alpha_goes_on_being_spent_after_a_restart(tmp_path):
    with closing(Record(tmp_path, alpha=0.05)) as record:
        assert tried(record) == 1
        record.end(Ending("open", 0))
        record.restart()
        assert tried(record) == 2
        _, demands = record.on_trial()
        assert demands.e_better == pytest.approx(1 / alpha_of(2, 0.05))
        record.restart()  # in the middle of the trial
        assert record.on_trial()[1] == demands
        record.end(Ending("open", 0))
        assert tried(record) == 3


@pytest.mark.parametrize("say", [Record.vote, partial(Record.submit, kind=Kind.AUDIT)])
def test_votes_are_the_same_after_a_restart(tmp_path, say):
    with closing(Record(tmp_path, alpha=0.05)) as record:
        tried(record)
        say(record, [WIN] * 5)
        anchor, _ = record.on_trial()
        record.restart()
        assert record.votes() == [WIN] * 5
        assert record.on_trial()[0] == anchor
        say(record, [WIN] * 2)
        assert record.votes() == [WIN] * 7
