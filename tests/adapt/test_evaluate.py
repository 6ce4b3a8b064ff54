"""The gate: what it refuses, what it promotes, and how seldom it is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.evaluate import Evidence, Paired, Policy, Source, e_value, judge

LABELS = ("card", "loan", "rate", "transfer")
ANCHOR = tuple(LABELS[at % 4] for at in range(200))
KNOWN = frozenset(LABELS)


def answers(right: int, wrong: str = "loan") -> tuple[str, ...]:
    """The first `right` anchor answers are right; the others are not."""
    rest = [wrong if label != wrong else "card" for label in ANCHOR[right:]]
    return (*ANCHOR[:right], *rest)


CHAMPION = answers(160)
SAME = Evidence("candidate", ANCHOR, CHAMPION, CHAMPION, KNOWN, KNOWN)


def test_a_better_candidate_is_promoted() -> None:
    verdict = judge(replace(SAME, candidate_answers=answers(180)))
    assert verdict.outcome == "promoted"
    assert verdict.numbers["anchor_wins"] == 20
    assert verdict.numbers["champion_correct"] == 160
    assert verdict.numbers["candidate_correct"] == 180
    assert verdict.numbers["e_better"] >= 20


def test_an_identical_candidate_is_kept_for_a_person_to_decide() -> None:
    verdict = judge(SAME)
    assert verdict.outcome == "candidate"
    assert "not proven" in verdict.reason


def test_an_identical_checkpoint_passes() -> None:
    assert judge(replace(SAME, source="checkpoint")).outcome == "promoted"


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_a_label_shuffled_head_is_refused(source: Source) -> None:
    shuffle = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))
    shuffled = tuple(shuffle[answer] for answer in CHAMPION)
    verdict = judge(replace(SAME, source=source, candidate_answers=shuffled))
    assert verdict.outcome == "refused"


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_a_constant_head_is_refused_even_against_a_champion_that_knows_nothing(
    source: Source,
) -> None:
    evidence = replace(
        SAME,
        source=source,
        champion_answers=(None,) * len(ANCHOR),
        champion_labels=frozenset(),
        candidate_answers=("card",) * len(ANCHOR),
    )
    verdict = judge(evidence)
    assert verdict.outcome == "refused"
    assert "every anchor text" in verdict.reason


def test_the_only_label_learned_so_far_is_no_constant_head() -> None:
    evidence = replace(
        SAME,
        source="checkpoint",
        champion_answers=(None,) * len(ANCHOR),
        champion_labels=frozenset(),
        candidate_answers=("card",) * len(ANCHOR),
        candidate_labels=frozenset({"card"}),
    )
    assert judge(evidence).outcome == "promoted"


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_numbers_that_are_not_finite_are_refused(source: Source) -> None:
    verdict = judge(replace(SAME, source=source, finite=False, candidate_answers=answers(200)))
    assert verdict.outcome == "refused"
    assert "finite" in verdict.reason


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_a_dropped_label_is_refused_unless_its_feedback_was_withdrawn(source: Source) -> None:
    dropped = replace(SAME, source=source, candidate_labels=KNOWN - {"rate"})
    verdict = judge(dropped)
    assert verdict.outcome == "refused"
    assert "'rate'" in verdict.reason
    assert judge(replace(dropped, withdrawn_labels=frozenset({"rate"}))).outcome != "refused"


@pytest.mark.parametrize("source", ["candidate", "checkpoint"])
def test_net_losses_beyond_the_allowance_are_refused(source: Source) -> None:
    within = judge(replace(SAME, source=source, candidate_answers=answers(158)))
    beyond = judge(replace(SAME, source=source, candidate_answers=answers(157)))
    assert within.outcome != "refused"
    assert beyond.outcome == "refused"
    assert "3 of 200" in beyond.reason


def test_a_new_label_that_the_anchor_or_feedback_knows_is_enough() -> None:
    champion = replace(SAME, champion_labels=KNOWN - {"rate"})
    assert judge(champion).outcome == "promoted"
    more = replace(SAME, candidate_labels=KNOWN | {"refund"})
    assert judge(more).outcome == "candidate"
    assert judge(replace(more, feedback_labels=frozenset({"refund"}))).outcome == "promoted"


def test_a_new_label_does_not_excuse_losses() -> None:
    evidence = replace(
        SAME,
        candidate_answers=answers(150),
        candidate_labels=KNOWN | {"refund"},
        feedback_labels=frozenset({"refund"}),
    )
    assert judge(evidence).outcome == "refused"


def test_audits_vote_both_ways() -> None:
    assert judge(replace(SAME, audit=Paired(12, 1, 100))).outcome == "promoted"
    assert judge(replace(SAME, audit=Paired(1, 12, 100))).outcome == "refused"


def test_without_an_anchor_set_a_checkpoint_passes_and_says_so() -> None:
    evidence = Evidence("checkpoint", (), (), (), KNOWN, KNOWN)
    verdict = judge(evidence)
    assert verdict.outcome == "promoted"
    assert "nothing was proven" in verdict.reason
    candidate = replace(
        evidence,
        source="candidate",
        candidate_labels=KNOWN | {"refund"},
        feedback_labels=frozenset({"refund"}),
    )
    assert judge(candidate).outcome == "candidate"
    assert judge(replace(candidate, audit=Paired(12, 1, 100))).outcome == "promoted"


@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_a_small_anchor_set_proves_nothing_but_still_refuses(total: int) -> None:
    anchor = ANCHOR[:total]
    wrong = tuple("loan" if label == "card" else "card" for label in anchor)
    better = Evidence("candidate", anchor, wrong, anchor, KNOWN, KNOWN)
    assert judge(better).outcome == "candidate"
    assert "detectable" not in judge(better).numbers
    worse = replace(better, champion_answers=anchor, candidate_answers=wrong)
    assert judge(worse).outcome == ("refused" if total > 1 else "candidate")


def test_the_smallest_difference_that_could_be_seen_is_recorded() -> None:
    verdict = judge(SAME)
    wins = round(verdict.numbers["detectable"] * len(ANCHOR))
    assert e_value(wins, 0) >= 20 > e_value(wins - 1, 0)


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 0), (1, 0), (0, 1), (7, 0), (0, 9), (12, 5), (40, 44), (300, 260)]
)
def test_the_e_value_is_the_integral(wins: int, losses: int) -> None:
    edges = np.linspace(0.5, 1.0, 400_001)
    p = (edges[1:] + edges[:-1]) / 2
    integral = 2 * np.mean((2 * p) ** wins * (2 * (1 - p)) ** losses) / 2
    assert e_value(wins, losses) == pytest.approx(integral, rel=1e-6)


def test_an_e_value_beyond_floats_is_infinite() -> None:
    assert e_value(5_000, 0) == np.inf
    assert e_value(0, 5_000) == pytest.approx(1 / 5_001, rel=0.01)


def test_null_candidates_are_seldom_promoted_however_often_one_looks() -> None:
    random = np.random.default_rng(7)
    promoted = 0
    for _ in range(200):
        wins = np.cumsum(random.random(300) < 0.5).tolist()
        looks = (Paired(won, at - won, at) for at, won in list(enumerate(wins, 1))[::5])
        verdicts = (judge(replace(SAME, audit=seen)) for seen in looks)
        promoted += any(verdict.outcome == "promoted" for verdict in verdicts)
    assert promoted <= 0.05 * 200


def test_a_stricter_policy_asks_for_more() -> None:
    better = replace(SAME, candidate_answers=answers(168))
    assert judge(better).outcome == "promoted"
    assert judge(better, Policy(e_value=200.0)).outcome == "candidate"
