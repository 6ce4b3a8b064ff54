"""What the adapt process finds out and the server decides upon: messages of their socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distrust:
    """A submitter whom the labels of all others contradict; see `trust.Standing`.

    Attributes:
        epoch: in which that was found.
        positions: their labels in effect.
    """

    model: str
    epoch: int
    submitter: str
    positions: Sequence[int]
    labels: int
    judged: int
    agreement: float
    agreement_high: float
    others_low: float


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion was checked: how far the lane is from one that never had what was deleted."""

    model: str
    position: int
    difference: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A candidate cannot catch up: its encoder cannot be read, for the reason that `why` gives."""

    model: str
    encoder_digest: str
    why: str


@dataclass(frozen=True, slots=True)
class Grown:
    """A larger regression is ready: it needs a log position from which on it may serve.

    Attributes:
        epoch: in which it was learned.
    """

    model: str
    epoch: int
