"""Trials: a candidate beside what serves, or the version before beside it, audit by audit.

They go on where the gate (`evaluate.py`) has left a candidate: no worse, not proven better. Each
text that an audit labels has been answered by both sides before either could learn it; what these
answers amount to is decided here. Pure: the server answers, stores the votes and acts.

Only audits vote. A correction exists only where what serves was wrong: by corrections alone every
rival looks better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Literal

from honed_adapt.gate.betting import e_value
from honed_adapt.gate.evaluate import superior
from honed_adapt.gate.evidence import Demands
from honed_adapt.gate.paired import NO_ITEMS, Paired, by_class, detectable

WATCH_AUDITS = 500
"""Audits after which a promoted version is no longer watched."""

TRIAL_AUDITS = 10_000
"""Audits after which a candidate that is neither better nor worse is left to a person."""

Outcome = Literal["open", "promoted", "refused", "undecided", "worse", "confirmed"]


@dataclass(frozen=True, slots=True)
class Vote:
    """One audited text that both sides have answered.

    Attributes:
        label: its label.
        serving_right: whether what served was right.
        rival_right: whether the candidate, or the version before, was right.
    """

    label: str
    serving_right: bool
    rival_right: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a trial stands.

    Attributes:
        outcome: "open" while it goes on; a candidate is then "promoted", "refused" or left
            "undecided"; a version that was promoted is "worse" than the one before, or "confirmed".
        reason: why, in one sentence.
        audits: the rival's wins and losses.
        e_better: evidence that the rival is better.
        e_worse: evidence that it is worse.
        e_needed: evidence that decides for the rival.
        e_worse_needed: evidence that decides against it.
        over_cap: audits that do not count because their submitter has had their part of the votes.
    """

    outcome: Outcome
    reason: str
    audits: Paired
    e_better: float
    e_worse: float
    e_needed: float
    e_worse_needed: float
    over_cap: int = 0

    @property
    def numbers(self) -> dict[str, float]:
        """What decided, for the record."""
        numbers: dict[str, float] = {
            "audit_wins": self.audits.wins,
            "audit_losses": self.audits.losses,
            "audit_total": self.audits.total,
            "audit_over_cap": self.over_cap,
            "e_better": self.e_better,
            "e_worse": self.e_worse,
            "e_needed": self.e_needed,
            "e_worse_needed": self.e_worse_needed,
        }
        seen = detectable(self.audits, self.e_needed)
        return numbers if seen is None else {**numbers, "detectable": seen}


def alpha_of(number: int, alpha: float) -> float:
    """The share of false promotions that the `number`-th candidate of a model may cost.

    alpha * 6 / (pi^2 number^2): over all candidates there ever are it adds up to alpha.
    """
    assert number >= 1, "candidates are counted from 1"
    return alpha * 6 / (pi * number) ** 2


def spent(candidates: int, alpha: float) -> float:
    """The share of false promotions that so many candidates have cost of `alpha`."""
    return sum(alpha_of(number, alpha) for number in range(1, candidates + 1))


def candidate_standing(anchor: Paired, votes: Sequence[Vote], demands: Demands) -> Standing:
    """Say where a candidate on trial stands.

    Args:
        anchor: paired answers to the anchor set at the first look; they help to show that it is
            worse, never that it is better.
        votes: audits so far; the candidate is the rival.
        demands: what the gate demands of this candidate.
    """
    classes = by_class((vote.label, vote.serving_right, vote.rival_right) for vote in votes)
    audits = sum(classes.values(), NO_ITEMS)
    both = anchor + audits
    better = e_value(audits.wins, audits.losses)
    worse = e_value(both.losses, both.wins)

    def stands(outcome: Outcome, reason: str) -> Standing:
        needed = demands.e_better, demands.e_worse
        return Standing(outcome, reason, audits, better, worse, *needed)

    if worse >= demands.e_worse:
        score = f"{both.losses} losses to {both.wins} wins"
        return stands("refused", f"it is worse: {score}, e-value {worse:.3g}")
    verdict = superior(audits, classes, demands)
    if verdict is not None and verdict[0] == "promoted":
        return stands("promoted", verdict[1])
    if audits.total >= TRIAL_AUDITS:
        return stands("undecided", f"neither better nor worse after {audits.total} audits")
    return stands("open", verdict[1] if verdict else "not proven better yet")


def watch_standing(votes: Sequence[Vote], e_needed: float) -> Standing:
    """Say whether the version before, the rival, proves better than what was promoted over it."""
    wins = sum(vote.rival_right and not vote.serving_right for vote in votes)
    losses = sum(vote.serving_right and not vote.rival_right for vote in votes)
    audits = Paired(wins, losses, len(votes))
    better, worse = e_value(wins, losses), e_value(losses, wins)

    def stands(outcome: Outcome, reason: str) -> Standing:
        return Standing(outcome, reason, audits, better, worse, e_needed, e_needed)

    score = f"{wins} wins to {losses} losses of the version before on {len(votes)} audits"
    if better >= e_needed:
        return stands("worse", f"it is worse: {score}, e-value {better:.3g} >= {e_needed:.3g}")
    if worse >= e_needed or len(votes) >= WATCH_AUDITS:
        return stands("confirmed", f"not worse than the version before: {score}")
    return stands("open", score)
