"""The gate and its trials against candidates of known worth: how often are they wrong, how slow?

For `python -m honed_loadtest.figures gate` and tests. It calls what the server calls, `judge` and
`candidate_standing`, on answers drawn at random, and looks after every audit that could decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from honed_adapt.gate.evaluate import Demands, Evidence, judge
from honed_adapt.gate.paired import NO_ITEMS, Paired, by_class
from honed_adapt.gate.trials import Vote, alpha_of, candidate_standing, watch_standing


@dataclass(frozen=True, slots=True)
class Setup:
    """How a rival and what serves answer; both sides' answers are drawn for each item alone.

    Attributes:
        gain: accuracy that the rival gains; 0 for what serves, trained with another seed.
        disagreement: share of items that only one of them answers rightly.
        accuracy: of the better of the two.
        anchors: texts of the anchor set, drawn anew for each candidate.
        audits: audits that a trial sees at most; 0 where feedback is corrections alone.
        labels: number of labels, equally likely.
        alpha: share of false promotions that is borne.
    """

    gain: float = 0.0
    disagreement: float = 0.08
    accuracy: float = 0.9
    anchors: int = 300
    audits: int = 2000
    labels: int = 77
    alpha: float = 0.05

    def votes(self, count: int, random: np.random.Generator) -> list[Vote]:
        """Draws the answers to some items."""
        wins, losses = (self.disagreement + self.gain) / 2, (self.disagreement - self.gain) / 2
        assert min(wins, losses) >= 0, "a gain is no more than the disagreement"
        both = self.accuracy - max(wins, losses)
        kinds = random.choice(4, count, p=[wins, losses, both, 1 - wins - losses - both])
        names = random.integers(self.labels, size=count)
        return [
            Vote(f"label-{name}", kind in (1, 2), kind in (0, 2))
            for kind, name in zip(kinds.tolist(), names.tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Ending:
    """How one trial ended: its outcome, and the audits that it took."""

    outcome: str
    audits: int


def life(setup: Setup, candidates: int, seed: int) -> list[Ending]:
    """What becomes of so many candidates of one model, one after the other.

    Each costs a smaller share of false promotions than the one before, so that all of them
    together cost no more than `alpha`.
    """
    random = np.random.default_rng(seed)
    return [candidate(setup, number, random) for number in range(1, candidates + 1)]


def candidate(setup: Setup, number: int, random: np.random.Generator) -> Ending:
    """What becomes of the `number`-th candidate of a model: the first look, then the trial."""
    demands = Demands(
        e_better=1 / alpha_of(number, setup.alpha), e_worse=1 / setup.alpha, alpha=setup.alpha
    )
    anchors = setup.votes(setup.anchors, random)
    verdict = judge(_evidence(anchors), demands)
    if verdict.outcome != "candidate":
        return Ending(verdict.outcome, 0)
    answered = ((vote.label, vote.serving_right, vote.rival_right) for vote in anchors)
    anchor = sum(by_class(answered).values(), NO_ITEMS)
    votes = setup.votes(setup.audits, random)
    for seen in _telling(votes, anchor, 1 / setup.alpha):
        standing = candidate_standing(anchor, votes[:seen], demands)
        if standing.outcome != "open":
            return Ending(standing.outcome, seen)
    return Ending("open", len(votes))


def watch(setup: Setup, random: np.random.Generator) -> Ending:
    """What becomes of a promoted version: the one before is the rival, with its gain."""
    votes = setup.votes(setup.audits, random)
    for seen in (*_telling(votes, NO_ITEMS, 1 / setup.alpha), len(votes)):
        standing = watch_standing(votes[:seen], 1 / setup.alpha)
        if standing.outcome != "open":
            return Ending(standing.outcome, seen)
    return Ending("open", len(votes))


def _telling(votes: Sequence[Vote], before: Paired, evidence: float) -> Iterator[int]:
    """After how many audits there can be so much evidence, for or against; no others decide.

    No e-value is above the likelihood ratio of the best bet, which is quick to compute. What was
    answered before counts against the rival, not for it.
    """
    wins = losses = 0
    for at, vote in enumerate(votes, 1):
        if vote.serving_right != vote.rival_right:
            wins, losses = wins + vote.rival_right, losses + vote.serving_right
            counts = ((wins, losses), (wins + before.wins, losses + before.losses))
            if max(_best_bet(*count) for count in counts) >= log(evidence):
                yield at


def _best_bet(wins: int, losses: int) -> float:
    """Logarithm of what the bet gains that knew the counts."""
    return sum(n * log(2 * n / (wins + losses)) for n in (wins, losses) if n)


def _evidence(votes: Sequence[Vote]) -> Evidence:
    """An anchor set that was answered so; wrong answers name a label that no text has."""
    known = frozenset(vote.label for vote in votes) | {"other"}
    return Evidence(
        source="candidate",
        anchor_labels=tuple(vote.label for vote in votes),
        champion_answers=tuple(v.label if v.serving_right else "other" for v in votes),
        candidate_answers=tuple(v.label if v.rival_right else "other" for v in votes),
        champion_labels=known,
        candidate_labels=known,
    )
