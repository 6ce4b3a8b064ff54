"""The gate: what it refuses, what it promotes, and how seldom it is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.gate.betting import e_value
from honed_adapt.gate.evaluate import judge
from honed_adapt.gate.evidence import Demands, Evidence, Latency, Source
from honed_adapt.gate.paired import Paired
from honed_adapt.gate.policy import Promotion
from honed_adapt.insight.scores import Calibration

LABELS = ("card", "loan", "rate", "transfer")
ANCHOR = tuple(LABELS[at % 4] for at in range(200))
KNOWN = frozenset(LABELS)


def answers(right: int, wrong: str = "loan") -> tuple[str, ...]:
    """The first `right` anchor answers are right; the others are not."""
    rest = [wrong if label != wrong else "card" for label in ANCHOR[right:]]
    return (*ANCHOR[:right], *rest)


CHAMPION = answers(160)
SAME = Evidence("candidate", ANCHOR, CHAMPION, CHAMPION, KNOWN, KNOWN)
BETTER = replace(SAME, audit=Paired(12, 1, 100))


def test_a_candidate_that_is_better_on_audits_is_promoted() -> None:
    verdict = judge(replace(BETTER, candidate_answers=answers(180)))
    assert verdict.outcome == "promoted"
    assert verdict.reason.startswith("better: 12 wins to 1 losses on 100 audits")
    assert verdict.numbers["anchor_wins"] == 20
    assert verdict.numbers["champion_correct"] == 160
    assert verdict.numbers["candidate_correct"] == 180
    assert verdict.numbers["e_better"] == e_value(12, 1) >= 20


@pytest.mark.parametrize("promotion", ["default", "superior"])
def test_the_anchor_set_alone_promotes_nothing_however_much_better_it_is(
    promotion: Promotion,
) -> None:
    """It does not show how often answers on traffic are right; under either policy it guards."""
    verdict = judge(replace(SAME, candidate_answers=ANCHOR), Demands(promotion))
    assert verdict.outcome == "candidate"
    assert "no audit has voted" in verdict.reason
    assert verdict.numbers["e_better"] == 1
    few = judge(replace(SAME, candidate_answers=ANCHOR, audit=Paired(3, 0, 9)), Demands(promotion))
    assert few.outcome == "candidate"


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
    numbers = judge(replace(SAME, audit=Paired(0, 0, 500))).numbers
    wins = round(numbers["detectable"] * 500)
    assert e_value(wins, 0) >= 20 > e_value(wins - 1, 0)
    without = judge(SAME).numbers
    assert "detectable" not in without  # no audit, no gain that could have been seen
    losses = round(without["anchor_detectable"] * len(ANCHOR))
    assert e_value(losses, 0) >= 20 > e_value(losses - 1, 0)


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
        looks = (Paired(won, at - won, at) for at, won in list(enumerate(wins, 1))[::15])
        verdicts = (judge(replace(SAME, audit=seen)) for seen in looks)
        promoted += any(verdict.outcome == "promoted" for verdict in verdicts)
    assert promoted <= 0.05 * 200


def test_a_stricter_policy_asks_for_more() -> None:
    better = replace(SAME, audit=Paired(8, 0, 100))
    assert judge(better).outcome == "promoted"
    assert judge(better, Demands(e_better=200.0)).outcome == "candidate"


def calibrated(error: float, brier: float, rows: int = 200) -> Calibration:
    return Calibration(error, brier, rows)


@pytest.mark.parametrize(
    ("candidate", "outcome", "why"),
    [
        (calibrated(0.05, 0.3), "promoted", "better"),
        (calibrated(0.2, 0.3), "refused", "calibration error rises from 0.040 to 0.200"),
        (calibrated(0.05, 0.5), "refused", "Brier score rises from 0.280 to 0.500"),
        (calibrated(0.2, 0.5, rows=50), "promoted", "better"),
    ],
)
def test_a_candidate_that_is_right_more_often_must_know_how_often(
    candidate: Calibration, outcome: str, why: str
) -> None:
    verdict = judge(replace(BETTER, calibration=(calibrated(0.04, 0.28), candidate)))
    assert verdict.outcome == outcome
    assert why in verdict.reason


def test_a_candidate_must_not_be_much_slower() -> None:
    assert judge(replace(BETTER, latency=Latency(50, 0.01, 0.014))).outcome == "promoted"
    slow = judge(replace(BETTER, latency=Latency(50, 0.01, 0.02)))
    assert slow.outcome == "refused"
    assert "2.0 times as long" in slow.reason


def test_a_large_anchor_set_must_exclude_a_loss_beyond_the_share() -> None:
    """15 net losses of 3,000 are within the allowance, and still may stand for more than 1 %."""
    labels = LABELS * 750
    right = tuple(labels)
    wrong = tuple("loan" if label != "loan" else "card" for label in labels)

    def said(lost: int, won: int) -> Evidence:
        champion = right[:-won] + wrong[-won:]
        return replace(
            SAME,
            anchor_labels=labels,
            champion_answers=champion,
            candidate_answers=wrong[:lost] + right[lost:],
        )

    assert judge(said(20, 20)).outcome == "candidate"
    verdict = judge(said(35, 20))
    assert verdict.outcome == "refused"
    assert "of anchor answers, 1.0% allowed" in verdict.reason
    assert verdict.numbers["anchor_change_at_least"] < -0.01


def test_the_policy_says_what_promotes() -> None:
    assert judge(BETTER, Demands(promotion="superior")).outcome == "promoted"
    assert judge(BETTER, Demands(promotion="manual")).outcome == "candidate"
    new = replace(SAME, champion_labels=KNOWN - {"rate"})
    assert judge(new).outcome == "promoted"
    assert judge(new, Demands(promotion="superior")).outcome == "candidate"


def test_a_class_that_falls_holds_a_better_candidate_back() -> None:
    better = replace(SAME, candidate_answers=answers(190), audit=Paired(40, 10, 90))
    lost = {"card": Paired(0, 8, 60)}
    verdict = judge(replace(better, audit_classes=lost))
    assert verdict.outcome == "promoted"  # its anchor answers outweigh that
    lost = {"card": Paired(0, 30, 60)}
    verdict = judge(replace(better, audit=Paired(70, 30, 120), audit_classes=lost))
    assert verdict.outcome == "candidate"
    assert "recall of 'card' falls" in verdict.reason


def test_a_class_that_falls_holds_back_who_first_knows_a_label() -> None:
    """As many are won in another class, so that on balance nothing is lost."""
    labels = ("a",) * 40 + ("b",) * 40 + ("c",) * 20
    before, after = ("a",) * 100, ("b",) * 80 + ("a",) * 20
    known = frozenset("ab"), frozenset("abc")
    traded = Evidence("candidate", labels, before, after, *known)
    verdict = judge(traded)
    assert verdict.outcome == "candidate"
    assert "knows 1 new labels" in verdict.reason
    assert "recall of 'a' falls" in verdict.reason
    few = replace(traded, candidate_answers=("b",) * 2 + ("a",) * 38 + ("b",) * 2 + ("a",) * 58)
    assert judge(few).outcome == "promoted"  # two of 40 are within chance
    audits = {"a": Paired(0, 10, 60), "b": Paired(10, 0, 60)}
    heard = replace(few, audit=Paired(10, 10, 120), audit_classes=audits)
    assert "recall of 'a' falls" in judge(heard).reason
