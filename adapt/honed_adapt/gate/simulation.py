"""The gate and its trials against candidates of known worth: how often are they wrong, how slow?

For `python -m honed_loadtest.figures gate` and tests. It calls what the server calls, `judge` and
`candidate_standing`, on answers drawn at random, and looks after every audit that could decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log

import numpy as np

from honed_adapt.gate.evaluate import Verdict, judge
from honed_adapt.gate.evidence import Demands, Evidence
from honed_adapt.gate.paired import NO_ITEMS, Paired, by_class
from honed_adapt.gate.trials import (
    WATCH_AUDITS,
    Vote,
    alpha_of,
    candidate_standing,
    watch_standing,
)


@dataclass(frozen=True, slots=True)
class Setup:
    """How a rival and what serves answer; both sides' answers are drawn for each item alone.

    Attributes:
        gain: accuracy that the rival gains; 0 for what serves, trained with another seed.
        disagreement: share of items that only one of them answers rightly.
        accuracy: of the better of the two.
        anchors: texts of the anchor set, drawn anew for each candidate.
        texts: texts that are asked during a trial.
        labels: number of labels, equally likely.
        alpha: share of false promotions that is borne.
    """

    gain: float = 0.0
    disagreement: float = 0.08
    accuracy: float = 0.9
    anchors: int = 300
    texts: int = 2000
    labels: int = 77
    alpha: float = 0.05

    def votes(self, count: int, random: np.random.Generator) -> list[Vote]:
        """Draws the answers to some items."""
        wins, losses = (self.disagreement + self.gain) / 2, (self.disagreement - self.gain) / 2
        assert min(wins, losses) >= 0, "a gain is no more than the disagreement"
        both = self.accuracy - max(wins, losses)
        kinds = random.choice(4, count, p=[wins, losses, both, 1 - wins - losses - both])
        names = random.integers(self.labels, size=count)
        return list(map(_vote, kinds.tolist(), names.tolist()))


@cache
def _vote(kind: int, name: int) -> Vote:
    """Only the rival right, only what serves, both, neither; votes are many and few differ."""
    return Vote(f"label-{name}", kind in (1, 2), kind in (0, 2))


@dataclass(frozen=True, slots=True)
class Ending:
    """How one trial ended: its outcome, and the audits that it took."""

    outcome: str
    audits: int


def candidate(setup: Setup, number: int, random: np.random.Generator) -> Ending:
    """What becomes of the `number`-th candidate of a model when every text is audited."""
    demands = Demands(
        e_better=1 / alpha_of(number, setup.alpha), e_worse=1 / setup.alpha, alpha=setup.alpha
    )
    anchors = setup.votes(setup.anchors, random)
    verdict = first_look(anchors, demands)
    if verdict.outcome != "candidate":
        return Ending(verdict.outcome, 0)
    return trial(paired(anchors), setup.votes(setup.texts, random), demands)


def first_look(anchors: Sequence[Vote], demands: Demands) -> Verdict:
    """What the gate says of a candidate that answers the anchor set so."""
    return judge(_evidence(anchors), demands)


def trial(anchor: Paired, votes: Sequence[Vote], demands: Demands) -> Ending:
    """How a trial ends that is looked at after every audit.

    Args:
        anchor: paired answers to the anchor set at the first look.
        votes: what audits say, in order.
        demands: what the gate demands of this candidate.
    """
    for seen in _telling(votes, anchor, demands.e_better, demands.e_worse):
        standing = candidate_standing(anchor, votes[:seen], demands)
        if standing.outcome != "open":
            return Ending(standing.outcome, seen)
    return Ending("open", len(votes))


def watch(setup: Setup, random: np.random.Generator) -> Ending:
    """What becomes of a promoted version: the one before is the rival, with its gain."""
    votes, needed = setup.votes(min(setup.texts, WATCH_AUDITS), random), 1 / setup.alpha
    for seen in (*_telling(votes, NO_ITEMS, needed, needed), len(votes)):
        standing = watch_standing(votes[:seen], needed)
        if standing.outcome != "open":
            return Ending(standing.outcome, seen)
    return Ending("open", len(votes))


def paired(votes: Sequence[Vote]) -> Paired:
    """How often only one side was right."""
    answered = ((vote.label, vote.serving_right, vote.rival_right) for vote in votes)
    return sum(by_class(answered).values(), NO_ITEMS)


def _telling(
    votes: Sequence[Vote], before: Paired, e_better: float, e_worse: float
) -> Iterator[int]:
    """After how many audits there can be enough evidence, for or against; no others decide.

    No e-value is above the likelihood ratio of the best bet, which is quick to compute. What was
    answered before counts against the rival, not for it.
    """
    wins = losses = 0
    for at, vote in enumerate(votes, 1):
        if vote.serving_right != vote.rival_right:
            wins, losses = wins + vote.rival_right, losses + vote.serving_right
            against = (losses + before.losses, wins + before.wins)
            if _best_bet(wins, losses) >= log(e_better) or _best_bet(*against) >= log(e_worse):
                yield at


def _best_bet(more: int, fewer: int) -> float:
    """Logarithm of what the bet gains that knew how often which side was right."""
    if more <= fewer:
        return 0.0
    return sum(n * log(2 * n / (more + fewer)) for n in (more, fewer) if n)


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
