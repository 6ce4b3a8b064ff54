"""The gate: may this head serve in place of the champion? Evidence in, verdict with numbers out.

It stands between what was learned (a candidate from training, or a checkpoint of the instant lane)
and the version that serves. Pure: the server gathers the answers and records the verdict. What the
gate leaves open `trials.py` goes on asking.

The anchor set guards: it can refuse, and it lets a new label in. That a candidate is better only
audits can show, since they are drawn from traffic. The tests are anytime-valid (`betting.py`), so
that looking early or often promotes no more false candidates than the threshold says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from honed_adapt.gate.betting import against_loss, e_value, lower_bound, settles
from honed_adapt.gate.evidence import Demands, Evidence
from honed_adapt.gate.paired import NO_ITEMS, Paired, by_class, detectable, falls
from honed_adapt.insight.scores import Calibration

Result = Literal["promoted", "candidate", "refused"]

CALIBRATION_ITEMS = 100
"""Anchor texts from which on calibration is compared."""

WORSE_CALIBRATION = 0.05
"""Expected calibration error that may be added."""

WORSE_BRIER = 0.05
"""Brier score that may be added (of 2 at most)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, why in one sentence, and the numbers behind it (for the record)."""

    outcome: Result
    reason: str
    numbers: dict[str, float]


def judge(evidence: Evidence, demands: Demands | None = None) -> Verdict:
    """Decide on an offered head.

    A candidate is promoted if it is no worse, no label's recall falls, and it is either better on
    audits or, unless the policy says otherwise, the first to know a wanted label; if it is merely
    no worse it stays a candidate, to be tried or for a person to decide. A checkpoint is promoted
    if it is no worse.
    """
    demands = demands or Demands()
    classes = _classes(evidence)
    anchor = sum(classes.values(), NO_ITEMS)
    numbers = _numbers(evidence, anchor, demands)
    fault = next(_faults(evidence), None) or _worse(anchor, evidence.audit, demands)
    if fault is None and evidence.source == "candidate":
        fault = next(_costs(evidence, anchor, demands), None)
    if fault is not None:
        return Verdict("refused", fault, numbers)
    if evidence.source == "checkpoint":
        return Verdict("promoted", _checkpoint_reason(anchor), numbers)
    merged = {
        label: classes.get(label, NO_ITEMS) + more for label, more in evidence.audit_classes.items()
    }
    classes |= merged
    verdict = superior(evidence.audit, classes, demands)
    return Verdict(*(verdict or _first_to_know(evidence, classes, demands)), numbers)


def superior(
    audit: Paired, classes: Mapping[str, Paired], demands: Demands
) -> tuple[Result, str] | None:
    """Whether a candidate that is no worse is better on audits; None where that is not shown.

    Args:
        audit: paired answers on audited traffic.
        classes: all that was answered, by label.
        demands: what the gate demands.
    """
    if demands.promotion == "manual":
        return "candidate", "no worse; the policy leaves promotion to a person"
    value = e_value(audit.wins, audit.losses)
    if value < demands.e_better:
        return None
    score = _score(audit)
    if lost := _fallen(classes):
        return "candidate", f"better ({score}), but the recall of {lost!r} falls"
    return "promoted", f"better: {score}, e-value {value:.3g} >= {demands.e_better:.3g}"


def _fallen(classes: Mapping[str, Paired]) -> str | None:
    """A label whose recall falls, whatever is won in others."""
    return min((label for label, one in classes.items() if falls(one)), default=None)


def _score(audit: Paired) -> str:
    """What audits have said, in words; without any no gain could have been seen."""
    if not audit.total:
        return "no audit has voted, so that no gain could be seen"
    return f"{audit.wins} wins to {audit.losses} losses on {audit.total} audits"


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


def _worse(anchor: Paired, audit: Paired, demands: Demands) -> str | None:
    net, allowance = anchor.losses - anchor.wins, demands.allowance(anchor.total)
    if net > allowance:
        return f"it loses {net} of {anchor.total} anchor answers on balance, {allowance} allowed"
    both = anchor + audit
    against = e_value(both.losses, both.wins)
    if against >= demands.e_worse:
        return (
            f"it is worse: {both.losses} losses to {both.wins} wins,"
            f" e-value {against:.3g} >= {demands.e_worse:g}"
        )
    return None


def _costs(evidence: Evidence, anchor: Paired, demands: Demands) -> Iterator[str]:
    """What a candidate may not cost, however right its answers are."""
    counts, loss = (anchor.wins, anchor.losses, anchor.total), demands.loss_share
    settled = 0 < loss < 1 and settles(*counts, loss, demands.alpha)
    if settled and against_loss(*counts, loss) < 1 / demands.alpha:
        bound = lower_bound(*counts, demands.alpha)
        yield f"it may lose {-bound:.1%} of anchor answers, {loss:.1%} allowed"
    if evidence.latency and (slower := evidence.latency.slower(demands.p99_ratio)):
        yield slower
    if evidence.calibration:
        before, after = evidence.calibration
        limits = _calibration_limits(before, after)
        if limits and after.error > limits["calibration_error_limit"]:
            yield f"its calibration error rises from {before.error:.3f} to {after.error:.3f}"
        if limits and after.brier > limits["brier_limit"]:
            yield f"its Brier score rises from {before.brier:.3f} to {after.brier:.3f}"


def _calibration_limits(before: Calibration, after: Calibration) -> dict[str, float]:
    """The most that is allowed, by name; nothing where too few texts can tell."""
    if after.rows < CALIBRATION_ITEMS:
        return {}
    error, brier = before.error + WORSE_CALIBRATION, before.brier + WORSE_BRIER
    return {"calibration_error_limit": error, "brier_limit": brier}


def _first_to_know(
    evidence: Evidence, classes: Mapping[str, Paired], demands: Demands
) -> tuple[Result, str]:
    """Whether a candidate that is not proven better knows a label that is wanted."""
    audit = evidence.audit
    score = _score(audit)
    if not evidence.anchor_labels:
        return "candidate", f"without an anchor set nothing shows that it is no worse ({score})"
    wanted = evidence.feedback_labels | set(evidence.anchor_labels)
    new = wanted & (evidence.candidate_labels - evidence.champion_labels)
    if new and demands.promotion == "default":
        knows = f"no worse, and knows {len(new)} new labels, {min(new)!r} among them"
        if lost := _fallen(classes):
            return "candidate", f"{knows}, but the recall of {lost!r} falls"
        return "promoted", knows
    value = e_value(audit.wins, audit.losses)
    return "candidate", f"no worse, but not proven better: {score}, e-value {value:.3g}"


def _checkpoint_reason(anchor: Paired) -> str:
    if anchor.total == 0:
        return "there is no anchor set: nothing was proven"
    return f"no worse: {anchor.wins} wins to {anchor.losses} losses on {anchor.total} anchor texts"


def _classes(evidence: Evidence) -> dict[str, Paired]:
    """Paired answers to the anchor set by label."""
    labels = evidence.anchor_labels
    answered = zip(labels, evidence.champion_answers, evidence.candidate_answers, strict=True)
    return by_class((label, label == old, label == new) for label, old, new in answered)


def _numbers(evidence: Evidence, anchor: Paired, demands: Demands) -> dict[str, float]:
    pairs = zip(evidence.champion_answers, evidence.anchor_labels, strict=True)
    champion = sum(answer == label for answer, label in pairs)
    audit = evidence.audit
    numbers: dict[str, float] = {
        "anchor_set": evidence.anchor_set,
        "anchor_total": anchor.total,
        "champion_correct": champion,
        "candidate_correct": champion + anchor.wins - anchor.losses,
        "anchor_wins": anchor.wins,
        "anchor_losses": anchor.losses,
        "audit_wins": audit.wins,
        "audit_losses": audit.losses,
        "audit_total": audit.total,
        "loss_share": demands.loss_share,
        "allowance": demands.allowance(anchor.total),
        "e_better": e_value(audit.wins, audit.losses),
        "e_worse": e_value((anchor + audit).losses, (anchor + audit).wins),
        "e_worse_needed": demands.e_worse,
    }
    if evidence.source == "candidate":
        counts = (anchor.wins, anchor.losses, anchor.total)
        numbers["e_needed"] = demands.e_better
        numbers["anchor_change_at_least"] = lower_bound(*counts, demands.alpha)
        numbers["p99_ratio_limit"] = demands.p99_ratio
    if evidence.latency:
        numbers |= evidence.latency.numbers()
    for name, one in zip(("champion", "candidate"), evidence.calibration or (), strict=False):
        numbers[f"{name}_calibration_error"] = one.error
        numbers[f"{name}_brier"] = one.brier
    if evidence.calibration:
        numbers |= _calibration_limits(*evidence.calibration)
    # The least gain that audits, and the least loss that the anchor set, could have shown.
    loss = detectable(Paired(anchor.losses, anchor.wins, anchor.total), demands.e_worse)
    for name, seen in (
        ("detectable", detectable(audit, demands.e_better)),
        ("anchor_detectable", loss),
    ):
        if seen is not None:
            numbers[name] = seen
    return numbers
