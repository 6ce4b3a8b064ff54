"""What a decision of the gate leaves on record: beside what was measured, what it was held to."""

from dataclasses import replace

import pytest

from honed_adapt.gate.evaluate import judge
from honed_adapt.gate.evidence import Demands, Evidence, Latency, Source
from honed_adapt.gate.paired import Paired
from honed_adapt.gate.trials import Vote, candidate_standing, watch_standing
from honed_adapt.insight.scores import Calibration

ANCHOR = ("card", "loan") * 100
KNOWN = frozenset(ANCHOR)
SAME = Evidence("candidate", ANCHOR, ANCHOR, ANCHOR, KNOWN, KNOWN, anchor_set=7)
LOSS = Vote("card", True, False)


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_it_names_the_anchor_set_and_what_may_be_lost(source: Source) -> None:
    demands = Demands(e_worse=30.0, loss_share=0.02)
    worse = replace(SAME, source=source, audit=Paired(0, 9, 90))
    for evidence in (replace(SAME, source=source), worse):
        numbers = judge(evidence, demands).numbers
        assert (numbers["anchor_set"], numbers["loss_share"], numbers["allowance"]) == (7, 0.02, 4)
        refused = judge(evidence, demands).outcome == "refused"
        assert (numbers["e_worse"] >= numbers["e_worse_needed"] == 30) == refused


@pytest.mark.parametrize("limit", [1.5, 3.0])
@pytest.mark.parametrize("ratio", [0.4, 1.4, 1.6, 3.1])
def test_it_holds_what_a_long_text_may_cost(ratio: float, limit: float) -> None:
    latency = Latency(57, champion_s=0.004, candidate_s=0.004 * ratio)
    verdict = judge(replace(SAME, latency=latency), Demands(p99_ratio=limit))
    numbers = verdict.numbers
    assert numbers["p99_ratio"] == pytest.approx(ratio)
    assert (numbers["p99_ratio_limit"], numbers["p99_tokens"]) == (limit, 57)
    assert numbers["candidate_p99_ms"] == pytest.approx(ratio * numbers["champion_p99_ms"])
    assert (verdict.outcome == "refused") == (ratio > limit)
    assert ("57 tokens" in verdict.reason) == (ratio > limit)


def test_what_was_not_measured_is_not_on_record() -> None:
    numbers = judge(SAME).numbers
    assert "p99_ratio" not in numbers
    assert numbers["p99_ratio_limit"] == 1.5


@pytest.mark.parametrize(("error", "brier"), [(0.08, 0.32), (0.1, 0.32), (0.08, 0.34)])
def test_it_holds_how_far_probabilities_may_be_off(error: float, brier: float) -> None:
    before, after = Calibration(0.04, 0.28, 200), Calibration(error, brier, 200)
    verdict = judge(replace(SAME, calibration=(before, after)))
    numbers = verdict.numbers
    assert numbers["calibration_error_limit"] == pytest.approx(0.09)
    assert numbers["brier_limit"] == pytest.approx(0.33)
    over = (
        numbers["candidate_calibration_error"] > numbers["calibration_error_limit"]
        or numbers["candidate_brier"] > numbers["brier_limit"]
    )
    assert over == (verdict.outcome == "refused")
    few = judge(replace(SAME, calibration=(before, replace(after, rows=50)))).numbers
    assert few["candidate_brier"] == brier
    assert "brier_limit" not in few  # too few texts: it was held to nothing
    assert "calibration_error_limit" not in few


def test_what_ends_a_trial_is_there_too() -> None:
    refused = candidate_standing(Paired(), [LOSS] * 12, Demands(e_better=33.0, e_worse=30.0))
    assert refused.outcome == "refused"
    assert refused.numbers["e_worse"] >= refused.numbers["e_worse_needed"] == 30
    confirmed = watch_standing([LOSS] * 12, 25.0)
    assert confirmed.outcome == "confirmed"
    assert confirmed.numbers["e_worse"] >= confirmed.numbers["e_worse_needed"] == 25
