"""Votes by hand: what is counted, and which weighing a tally justifies."""

import numpy as np
import pytest

from honed_adapt.instant.evidence import HYPOTHESES, tally, weigh

ALONE = np.array([weight == 0 for weight, _ in HYPOTHESES])


def test_a_tally_is_log_likelihood_and_right_answers() -> None:
    random = np.random.default_rng(0)
    base, learned = random.normal(size=(2, 100, 3))
    targets, votes = random.integers(0, 3, 100), random.random(100)
    counts = tally(base, learned, targets, votes, known=3)
    for at, (weight, temperature) in enumerate(HYPOTHESES):
        odds = np.exp((base + weight * learned) / temperature)
        chosen = odds[range(100), targets] / odds.sum(axis=1)
        assert counts[0, at] == pytest.approx(votes @ np.log(chosen))
        assert counts[1, at] == pytest.approx(votes @ (odds.argmax(axis=1) == targets))


def test_alone_the_own_head_never_answers_a_new_label() -> None:
    """Its logits are the same for all new labels, which must not make each of them right."""
    base = np.tile([2.0, 0.0, 3.0, 3.0], (6, 1))
    counts = tally(base, np.zeros_like(base), np.array([2, 3, 2, 3, 0, 1]), np.ones(6), known=2)
    assert (counts[1, ALONE] == 1).all()


def test_evidence_is_the_mean_likelihood_over_the_best_of_the_own_head() -> None:
    total = np.zeros((2, len(HYPOTHESES)))
    total[0] = np.where(ALONE, -60.0, -100.0)
    total[0, np.flatnonzero(~ALONE)[5]] = -50.0
    weighing = weigh(total, total)
    assert weighing.evidence == pytest.approx(10 - np.log((~ALONE).sum()))
    assert (weighing.weight, weighing.temperature) == HYPOTHESES[np.flatnonzero(~ALONE)[5]]
    total[0, ~ALONE] = -58.0
    assert weigh(total, total).evidence == pytest.approx(2)
    assert weigh(total, total).weight == 0


@pytest.mark.parametrize("temperature", [0.7, 1.07, 2.9])
def test_a_temperature_between_those_compared_is_no_evidence(temperature: float) -> None:
    """The own head is right, but for its temperature, and what was learned repeats it."""
    rng = np.random.default_rng(3)
    base = 3 * rng.normal(size=(10_000, 4))
    chances = np.exp(base / temperature)
    chances /= chances.sum(axis=1, keepdims=True)
    targets = (chances.cumsum(axis=1) < rng.random((10_000, 1))).sum(axis=1)
    counts = tally(base, base + 1e-3 * rng.normal(size=base.shape), targets, np.ones(10_000), 4)
    assert weigh(counts, counts).evidence < 0
    inverse = np.linspace(0.1, 3, 300)
    scaled = [base * one for one in inverse]
    exact = [(z[np.arange(10_000), targets] - np.log(np.exp(z).sum(axis=1))).sum() for z in scaled]
    mixed = counts[0, ~ALONE]
    best = mixed.max() + np.log(np.exp(mixed - mixed.max()).mean())
    assert weigh(counts, counts).evidence <= best - max(exact)


def test_a_likelier_head_that_answers_worse_does_not_serve() -> None:
    """The own head is sure and wrong 10 times in 100; with weight 1 it is less sure 11 times."""
    base = np.tile([30.0, 0.0], (100, 1))
    learned = np.zeros((100, 2))
    targets = np.zeros(100, np.int64)
    targets[:10], learned[:10, 1], learned[10:21, 1] = 1, 36.0, 30.2
    counts = tally(base, learned, targets, np.ones(100), known=2)
    assert HYPOTHESES[int(counts[0].argmax())][0] >= 1
    weighing = weigh(counts, counts)
    assert 0 < weighing.weight < 0.97
    answers = (base + weighing.weight * learned).argmax(axis=1)
    assert (answers == targets).sum() >= 90
