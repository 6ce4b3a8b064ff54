"""What the gate judges by: the evidence about an offered head, and what is demanded of it.

Before `evaluate.py`, which has the rules. Pure values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from honed_adapt.gate.paired import NO_ITEMS, Paired
from honed_adapt.gate.policy import Promotion
from honed_adapt.insight.scores import Calibration

Source = Literal["candidate", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Latency:
    """What one long text costs from token ids to its answer: encoder and head, without a queue.

    Long is the 99th percentile of what was asked of late, so that this is what a model itself adds
    to the 99th percentile of latency.

    Attributes:
        tokens: of the text, under the candidate's tokenizer.
        champion_s: seconds with the champion.
        candidate_s: seconds with the candidate, above 0 as those.
    """

    tokens: int
    champion_s: float
    candidate_s: float

    @property
    def ratio(self) -> float:
        """Times as long as with the champion."""
        return self.candidate_s / self.champion_s

    def slower(self, limit: float) -> str | None:
        """The fault, in words, if it takes more than so many times as long."""
        if self.ratio <= limit:
            return None
        return (
            f"a text of {self.tokens} tokens takes {self.ratio:.1f} times as long"
            f" ({self.candidate_s * 1e3:.1f} ms), {limit:g} allowed (p99_ratio)"
        )

    def numbers(self) -> dict[str, float]:
        """For the record."""
        return {
            "p99_tokens": self.tokens,
            "champion_p99_ms": self.champion_s * 1e3,
            "candidate_p99_ms": self.candidate_s * 1e3,
            "p99_ratio": self.ratio,
        }


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
        audit_classes: the same by label.
        feedback_labels: labels in recent audits.
        withdrawn_labels: labels whose feedback was all withdrawn or deleted, so that they may go.
        calibration: of the champion's probabilities on the anchor set, and of the candidate's.
        latency: what a long text costs with both; None where that was not measured.
        anchor_set: number of the anchor set, 0 for none.
    """

    source: Source
    anchor_labels: tuple[str, ...]
    champion_answers: tuple[str | None, ...]
    candidate_answers: tuple[str | None, ...]
    champion_labels: frozenset[str]
    candidate_labels: frozenset[str]
    finite: bool = True
    audit: Paired = NO_ITEMS
    audit_classes: Mapping[str, Paired] = field(default_factory=dict)
    feedback_labels: frozenset[str] = frozenset()
    withdrawn_labels: frozenset[str] = frozenset()
    calibration: tuple[Calibration, Calibration] | None = None
    latency: Latency | None = None
    anchor_set: int = 0

    def __post_init__(self) -> None:
        sizes = {len(self.anchor_labels), len(self.champion_answers), len(self.candidate_answers)}
        assert len(sizes) == 1, "each anchor text has one label and one answer of each head"


@dataclass(frozen=True, slots=True)
class Demands:
    """What the gate demands.

    Attributes:
        promotion: what promotes, see `policy.Policy`.
        e_better: evidence that proves a candidate better: 1 / the share of false promotions that
            this candidate may cost, see `trials.alpha_of`.
        e_worse: evidence that proves one worse.
        loss_share: anchor answers that may be lost on balance, as a share of the set.
        loss_items: the same in items; the larger holds.
        alpha: share of candidates that lose more than `loss_share` and are borne.
        p99_ratio: times as long as with the champion that a long text may take.
    """

    promotion: Promotion = "default"
    e_better: float = 20.0
    e_worse: float = 20.0
    loss_share: float = 0.01
    loss_items: int = 1
    alpha: float = 0.05
    p99_ratio: float = 1.5

    def allowance(self, total: int) -> int:
        """Anchor answers that may be lost on balance."""
        return max(self.loss_items, math.floor(self.loss_share * total))
