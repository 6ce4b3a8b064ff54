"""Trials: what audits amount to, how seldom that is wrong, and how soon it is right."""

from collections import Counter
from math import isclose, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from honed_adapt.gate.betting import against_loss, e_value, lower_bound, settles
from honed_adapt.gate.evidence import Demands
from honed_adapt.gate.paired import NO_ITEMS, Paired, falls
from honed_adapt.gate.simulation import Setup, candidate, watch
from honed_adapt.gate.trials import (
    WATCH_AUDITS,
    Vote,
    alpha_of,
    candidate_standing,
    spent,
    watch_standing,
)

WIN, LOSS, TIE = Vote("a", False, True), Vote("a", True, False), Vote("a", True, True)
FIRST = Demands(e_better=1 / alpha_of(1, 0.05))


@pytest.mark.parametrize(
    ("votes", "outcome"),
    [
        ([], "open"),
        ([WIN] * 7, "open"),
        ([WIN] * 8, "promoted"),
        ([LOSS] * 7, "refused"),
        ([TIE] * 9_999, "open"),
        ([TIE] * 10_000, "undecided"),
    ],
)
def test_a_candidate_is_decided_as_soon_as_the_evidence_is_there(votes, outcome):
    standing = candidate_standing(NO_ITEMS, votes, FIRST)
    assert standing.outcome == outcome
    assert standing.audits.total == len(votes)
    assert standing.e_needed == FIRST.e_better


@pytest.mark.parametrize("promotion", ["default", "superior"])
def test_the_anchor_set_can_show_that_a_candidate_is_worse_never_that_it_is_better(promotion):
    demands = Demands(promotion, e_better=FIRST.e_better)
    better = Paired(wins=50, losses=0, total=100)
    assert candidate_standing(better, [WIN] * 7, demands).outcome == "open"
    assert candidate_standing(better, [WIN] * 8, demands).outcome == "promoted"
    assert candidate_standing(Paired(0, 5, 100), [LOSS] * 2, demands).outcome == "refused"


def test_no_evidence_promotes_where_a_person_decides():
    manual = Demands(promotion="manual", e_better=FIRST.e_better)
    assert candidate_standing(NO_ITEMS, [WIN] * 50, manual).outcome == "open"
    assert candidate_standing(NO_ITEMS, [LOSS] * 50, manual).outcome == "refused"


def test_a_class_that_falls_holds_a_better_candidate_back():
    lost = [Vote("rare", True, False)] * 6 + [Vote("rare", True, True)] * 14
    standing = candidate_standing(NO_ITEMS, [WIN] * 40 + lost, FIRST)
    assert standing.outcome == "open"
    assert "recall of 'rare' falls" in standing.reason
    # With more of it right the fall is within chance, or is none.
    more = [Vote("rare", False, True)] * 6
    assert candidate_standing(NO_ITEMS, [WIN] * 40 + lost + more, FIRST).outcome == "promoted"


@pytest.mark.parametrize(
    ("one", "fallen"),
    [
        (Paired(0, 4, 20), True),
        (Paired(0, 3, 20), False),
        (Paired(0, 19, 19), False),  # too few items to say
        (Paired(0, 20, 20), True),
        (Paired(30, 40, 200), False),
        (Paired(30, 60, 200), True),
        (Paired(5, 5, 50), False),
    ],
)
def test_a_class_falls_by_more_than_two_standard_errors(one, fallen):
    assert falls(one) == fallen


def test_a_watch_ends_with_a_verdict():
    assert watch_standing([WIN] * 6, 20).outcome == "open"
    assert watch_standing([WIN] * 7, 20).outcome == "worse"
    assert watch_standing([LOSS] * 7, 20).outcome == "confirmed"
    assert watch_standing([TIE] * (WATCH_AUDITS - 1), 20).outcome == "open"
    assert watch_standing([TIE] * WATCH_AUDITS, 20).outcome == "confirmed"


def test_the_record_says_what_could_have_been_seen():
    numbers = candidate_standing(NO_ITEMS, [TIE] * 90 + [WIN] * 2 + [LOSS] * 8, FIRST).numbers
    assert (numbers["audit_wins"], numbers["audit_losses"], numbers["audit_total"]) == (2, 8, 100)
    wins = round(numbers["detectable"] * 100) + 8
    assert e_value(wins, 8) >= FIRST.e_better > e_value(wins - 1, 8)


@given(st.integers(1, 10_000), st.floats(0.001, 0.5))
def test_however_many_candidates_there_are_they_cost_no_more_than_alpha(candidates, alpha):
    assert spent(candidates, alpha) < alpha
    assert isclose(alpha_of(candidates, alpha), alpha * 6 / (pi * candidates) ** 2)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 2000))
def test_the_bound_of_a_loss_and_the_bet_against_it_agree(wins, losses, ties):
    total = wins + losses + ties
    bound = lower_bound(wins, losses, total, 0.05)
    assert -1 <= bound <= 1
    assert not total or bound <= (wins - losses) / total
    for loss in (0.01, 0.1, 0.5):
        if abs(loss + bound) > 1e-3:
            assert (against_loss(wins, losses, total, loss) >= 20) == (bound > -loss)


def test_an_anchor_set_must_be_large_to_exclude_a_loss_of_one_point():
    assert not settles(0, 0, 500, 0.01, 0.05)
    assert settles(0, 0, 600, 0.01, 0.05)
    assert not settles(20, 20, 1000, 0.01, 0.05)
    assert settles(20, 20, 3000, 0.01, 0.05)


@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_bet_against_a_loss_that_is_there_seldom_pays_however_often_one_looks(loss):
    random = np.random.default_rng(5)
    paid = 0
    for _ in range(300):
        change = random.choice([1, -1, 0], 400, p=[0.05, 0.05 + loss, 0.9 - loss])
        wins, losses = np.cumsum(change == 1), np.cumsum(change == -1)
        looks = range(10, 400, 15)
        paid += any(against_loss(wins[at], losses[at], at + 1, loss) >= 20 for at in looks)
    assert paid <= 0.05 * 300


def test_first_candidates_that_are_no_better_are_seldom_promoted():
    """Each is what serves, trained with another seed; somebody looks after every label."""
    random = np.random.default_rng(0)
    endings = [candidate(Setup(texts=600), 1, random) for _ in range(120)]
    counts = Counter(ending.outcome for ending in endings)
    assert counts["promoted"] <= 0.05 * len(endings)
    assert counts["open"] > len(endings) / 2


def test_a_gain_of_five_points_is_seen_and_a_bad_model_is_undone_soon():
    random = np.random.default_rng(11)
    gain = Setup(gain=0.05, disagreement=0.1, texts=1500)
    promoted = [candidate(gain, 1, random) for _ in range(20)]
    assert sum(ending.outcome == "promoted" for ending in promoted) >= 16
    bad = Setup(gain=0.2, disagreement=0.25, texts=WATCH_AUDITS)
    undone = [watch(bad, random) for _ in range(40)]
    assert all(ending.outcome == "worse" for ending in undone)
    assert np.median([ending.audits for ending in undone]) < 120
    null = [watch(Setup(texts=WATCH_AUDITS), random) for _ in range(200)]
    assert sum(ending.outcome == "worse" for ending in null) <= 0.05 * 200
