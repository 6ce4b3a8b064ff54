"""The gate: may this head serve in place of the champion? Evidence in, verdict with numbers out.

It stands between what was learned (a candidate from training, or a checkpoint of the instant lane)
and the version that serves. Pure: the server gathers the answers and records the verdict.

The test is anytime-valid, so that looking early or often promotes no more false candidates than
the threshold says.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Source = Literal["candidate", "checkpoint"]
Result = Literal["promoted", "candidate", "refused"]


@dataclass(frozen=True, slots=True)
class Paired:
    """Items that both heads answered: how often only one of them was right.

    Attributes:
        wins: only the candidate was right.
        losses: only the champion was right.
        total: items in all.
    """

    wins: int = 0
    losses: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the gate may know.

    Attributes:
        source: "candidate" must prove itself; a "checkpoint" has been guarded and serves already.
        anchor_labels: the right label of each anchor text.
        champion_answers: what the champion says to each; None where it has no answer.
        candidate_answers: what the candidate says to each.
        champion_labels: labels that the champion knows.
        candidate_labels: labels that the candidate knows.
        finite: whether all the candidate's numbers are finite.
        audit: paired answers on audited traffic that neither had learned. Only audits: corrections
            exist only where the champion was wrong, and would elect anything.
        feedback_labels: labels in recent feedback.
        withdrawn_labels: labels whose feedback was all withdrawn or deleted, so that they may go.
    """

    source: Source
    anchor_labels: tuple[str, ...]
    champion_answers: tuple[str | None, ...]
    candidate_answers: tuple[str | None, ...]
    champion_labels: frozenset[str]
    candidate_labels: frozenset[str]
    finite: bool = True
    audit: Paired = Paired()
    feedback_labels: frozenset[str] = frozenset()
    withdrawn_labels: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        sizes = {len(self.anchor_labels), len(self.champion_answers), len(self.candidate_answers)}
        assert len(sizes) == 1, "each anchor text has one label and one answer of each head"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the gate demands.

    Attributes:
        e_value: evidence that decides, 1 / the share of false decisions that is borne.
        loss_share: anchor answers that may be lost on balance, as a share of the set.
        loss_items: the same in items; the larger holds.
    """

    e_value: float = 20.0
    loss_share: float = 0.01
    loss_items: int = 1

    def allowance(self, total: int) -> int:
        """Anchor answers that may be lost on balance."""
        return max(self.loss_items, math.floor(self.loss_share * total))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, why in one sentence, and the numbers behind it (for the record)."""

    outcome: Result
    reason: str
    numbers: dict[str, float]


def e_value(wins: int, losses: int) -> float:
    """Evidence that wins are more likely than losses: at least 20 is significant at 5 %.

    The mean over p in (1/2, 1) of (2 p)^wins (2 (1 - p))^losses, a test martingale when wins are
    no likelier than losses (Ramdas et al., arXiv 2210.01948). With n = wins + losses the integral
    is an incomplete beta function, that is a binomial tail, which leaves

        sum over j <= wins of wins! losses! / (j! (n + 1 - j)!).
    """
    n = wins + losses
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(n + 2), 1)))
    terms = -log_factorial[: wins + 1] - log_factorial[n + 1 : losses : -1]
    log_value = float(np.logaddexp.reduce(terms) + log_factorial[wins] + log_factorial[losses])
    return math.exp(log_value) if log_value < 700 else math.inf


def judge(evidence: Evidence, policy: Policy | None = None) -> Verdict:
    """Decide on an offered head.

    A candidate is promoted if it is no worse and either better or the first to know a wanted
    label; if it is merely no worse it stays a candidate, for a person to decide. A checkpoint is
    promoted if it is no worse.
    """
    policy = policy or Policy()
    anchor = _paired(evidence)
    both = Paired(
        anchor.wins + evidence.audit.wins,
        anchor.losses + evidence.audit.losses,
        anchor.total + evidence.audit.total,
    )
    numbers = _numbers(evidence, anchor, both, policy)
    fault = next(_faults(evidence), None) or _worse(anchor, both, policy)
    if fault is not None:
        return Verdict("refused", fault, numbers)
    if evidence.source == "checkpoint":
        return Verdict("promoted", _checkpoint_reason(anchor), numbers)
    outcome, reason = _superior(evidence, both, policy)
    return Verdict(outcome, reason, numbers)


def _faults(evidence: Evidence) -> Iterator[str]:
    """What no score can make good."""
    if not evidence.finite:
        yield "it holds numbers that are not finite"
    dropped = evidence.champion_labels - evidence.candidate_labels - evidence.withdrawn_labels
    if dropped:
        yield f"it no longer knows {len(dropped)} labels, {min(dropped)!r} among them"
    answers = evidence.candidate_answers
    constant = len(set(answers)) == 1 and len(evidence.candidate_labels) > 1
    if constant and len(set(evidence.anchor_labels)) > 1 and answers != evidence.champion_answers:
        yield f"it answers {answers[0]!r} to every anchor text"


def _worse(anchor: Paired, both: Paired, policy: Policy) -> str | None:
    net, allowance = anchor.losses - anchor.wins, policy.allowance(anchor.total)
    if net > allowance:
        return f"it loses {net} of {anchor.total} anchor answers on balance, {allowance} allowed"
    against = e_value(both.losses, both.wins)
    if against >= policy.e_value:
        return (
            f"it is worse: {both.losses} losses to {both.wins} wins,"
            f" e-value {against:.3g} >= {policy.e_value:g}"
        )
    return None


def _superior(evidence: Evidence, both: Paired, policy: Policy) -> tuple[Result, str]:
    score = f"{both.wins} wins to {both.losses} losses on {both.total} items"
    value = e_value(both.wins, both.losses)
    if value >= policy.e_value:
        return "promoted", f"better: {score}, e-value {value:.3g} >= {policy.e_value:g}"
    if not evidence.anchor_labels:
        return "candidate", f"without an anchor set nothing shows that it is no worse ({score})"
    wanted = evidence.feedback_labels | set(evidence.anchor_labels)
    new = wanted & (evidence.candidate_labels - evidence.champion_labels)
    if new:
        return "promoted", f"no worse, and knows {len(new)} new labels, {min(new)!r} among them"
    return "candidate", f"no worse, but not proven better: {score}, e-value {value:.3g}"


def _checkpoint_reason(anchor: Paired) -> str:
    if anchor.total == 0:
        return "there is no anchor set: nothing was proven"
    return f"no worse: {anchor.wins} wins to {anchor.losses} losses on {anchor.total} anchor texts"


def _paired(evidence: Evidence) -> Paired:
    right = [
        (champion == label, candidate == label)
        for label, champion, candidate in zip(
            evidence.anchor_labels,
            evidence.champion_answers,
            evidence.candidate_answers,
            strict=True,
        )
    ]
    return Paired(right.count((False, True)), right.count((True, False)), len(right))


def _numbers(evidence: Evidence, anchor: Paired, both: Paired, policy: Policy) -> dict[str, float]:
    pairs = zip(evidence.champion_answers, evidence.anchor_labels, strict=True)
    champion = sum(answer == label for answer, label in pairs)
    numbers: dict[str, float] = {
        "anchor_total": anchor.total,
        "champion_correct": champion,
        "candidate_correct": champion + anchor.wins - anchor.losses,
        "anchor_wins": anchor.wins,
        "anchor_losses": anchor.losses,
        "audit_wins": evidence.audit.wins,
        "audit_losses": evidence.audit.losses,
        "audit_total": evidence.audit.total,
        "allowance": policy.allowance(anchor.total),
        "e_better": e_value(both.wins, both.losses),
        "e_worse": e_value(both.losses, both.wins),
    }
    detectable = _detectable(both, policy)
    if detectable is not None:
        numbers["detectable"] = detectable
    return numbers


def _detectable(both: Paired, policy: Policy) -> float | None:
    """Smallest gain in accuracy that would have been proven, given the losses that there were."""
    possible = range(both.total - both.losses + 1)
    # More wins are more evidence, so the least number that suffices can be bisected.
    wins = bisect_left(possible, policy.e_value, key=lambda wins: e_value(wins, both.losses))
    return (wins - both.losses) / both.total if wins in possible else None
