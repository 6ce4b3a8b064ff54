"""What is watched of one model: whether its answers are right, and whether its texts change.

It stands in the catalogue's entry; `drift.py` feeds it and acts on what it says. Event loop only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from honed_adapt.feedback.questions import Labelled
from honed_adapt.feedback.values import Kind
from honed_adapt.insight.drift import Errors, Shift
from honed_adapt.insight.scores import Share
from honed_proto.v1 import models_pb2 as pb

Alarm = Literal["error", "embedding"]
Turn = tuple[Alarm, bool]  # which alarm, and whether it is raised or over

RECENT = 1_000
"""Labelled answers that accuracy is told of, the newest ones."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that stands.

    Attributes:
        since: When it was raised, Unix seconds.
        before: Share of wrong answers before; 0 where texts have changed.
    """

    since: float
    before: float = 0.0


@dataclass(slots=True)
class Watched:
    """One model's state.

    Attributes:
        audited: Whether answers were right, by log position of the audit.
        chosen: The same of answers that people chose to label.
        errors: The test on audited answers.
        shift: The test on texts, of one encoder.
        raised: Alarms that stand.
        alarms: Alarms so far.
        next_s: Monotonic seconds from which on another text is looked at.
    """

    audited: dict[int, bool] = field(default_factory=dict)
    chosen: dict[int, bool] = field(default_factory=dict)
    errors: Errors = field(default_factory=Errors)
    shift: Shift | None = None
    raised: dict[Alarm, Raised] = field(default_factory=dict)
    alarms: int = 0
    next_s: float = 0.0
    _encoder: object = None

    def restore(
        self, audited: Iterable[Labelled], chosen: Iterable[Labelled], errors: Errors, until: int
    ) -> None:
        """Takes what stands in the log in place of what was known up to a position.

        Args:
            audited: Answers that were audited, up to that position.
            chosen: Answers that people chose to label, up to that position.
            errors: The test after these audits.
            until: That position.
        """
        later = [
            {at: ok for at, ok in known.items() if at > until}
            for known in (self.audited, self.chosen)
        ]
        stand = {one.position: one.right for one in audited} | later[0]
        if stand != self.audited:
            for right in later[0].values():
                errors.observe(not right)
            self.errors = errors
        self.audited = stand
        self.chosen = {one.position: one.right for one in chosen} | later[1]

    def label(self, one: Labelled) -> Turn | None:
        """Takes in a labelled answer."""
        known = self.audited if one.kind is Kind.AUDIT else self.chosen
        if one.position in known:
            return None  # the log was read since it was recorded
        known[one.position] = one.right
        if len(known) > RECENT:
            del known[next(iter(known))]
        if one.kind is not Kind.AUDIT:
            return None
        before = self.errors.error
        if self.errors.observe(not one.right) and "error" not in self.raised:
            self.raised["error"] = Raised(0.0, before)
            return "error", True
        return self.over()

    def over(self) -> Turn | None:
        """Ends the alarm on errors if they are no more frequent than before it."""
        standing = self.raised.get("error")
        if standing is not None and self.errors.error <= standing.before:
            del self.raised["error"]
            return "error", False
        return None

    def text(self, vector: NDArray[np.float32], encoder: object) -> Turn | None:
        """Takes in the vector of a text, (hidden,); vectors of other encoders say nothing of it."""
        if self.shift is None or encoder != self._encoder:
            self.shift, self._encoder = Shift(len(vector)), encoder
        settled = self.shift.settled
        if self.shift.observe(vector):
            raised = "embedding" not in self.raised
            self.raised["embedding"] = Raised(0.0)
            return ("embedding", True) if raised else None
        if self.shift.settled and not settled and "embedding" in self.raised:
            del self.raised["embedding"]
            return "embedding", False
        return None

    @property
    def audited_share(self) -> Share:
        """How many audited answers were right."""
        return Share(sum(self.audited.values()), len(self.audited))

    @property
    def chosen_share(self) -> Share:
        """How many of the answers were right that people chose to label."""
        return Share(sum(self.chosen.values()), len(self.chosen))

    def add_audits(self, learning: pb.Learning) -> pb.Learning:
        """What is known of learning, with how often audited answers were right."""
        audited = self.audited_share
        learning.audits = audited.total
        learning.audited_accuracy = audited.right / audited.total if audited.total else 0.0
        return learning

    def describe(self) -> pb.Drift:
        """Whether traffic or errors have changed, as callers see it."""
        drift = pb.Drift(
            alarm=", ".join(sorted(self.raised)),
            alarms=self.alarms,
            error=self.errors.error,
            window=self.errors.window,
        )
        if self.raised:
            since = min(raised.since for raised in self.raised.values())
            drift.since.FromNanoseconds(int(since * 1e9))
        return drift
