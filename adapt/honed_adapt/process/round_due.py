"""Whether a fine-tuning round shall start by itself: decided from a model's policy. Pure.

It stands between what the server counts (new labels, time, drift) and `rounds.py`, which starts
rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from honed_adapt.gate.policy import Policy

Trigger = Literal["count", "time", "drift"]


@dataclass(frozen=True, slots=True)
class Since:
    """What has happened since a model's last round, or since it began.

    Attributes:
        labels: new labels in effect.
        seconds: time.
        drifting: whether a drift alarm stands that no round has answered.
    """

    labels: int
    seconds: float
    drifting: bool = False


def due(policy: Policy, since: Since) -> Trigger | None:
    """What calls for a round; without any new label nothing does, since nothing would differ."""
    if since.labels <= 0:
        return None
    if policy.round_on_drift and since.drifting:
        return "drift"
    if policy.round_labels and since.labels >= policy.round_labels:
        return "count"
    if policy.round_interval_s and since.seconds >= policy.round_interval_s:
        return "time"
    return None


def next_look_s(policy: Policy, since: Since) -> float | None:
    """Seconds until time alone may call for a round; None if it never does."""
    if not policy.round_interval_s:
        return None
    return max(0.0, policy.round_interval_s - since.seconds)
