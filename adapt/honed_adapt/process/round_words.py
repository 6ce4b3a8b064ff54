"""What server, adapt process and trainers say to each other about fine-tuning rounds.

They travel as the other messages do (`messages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from honed_adapt.insight.conformal import COVERAGE
from honed_adapt.insight.open_set import FALSE_ALARMS


@dataclass(frozen=True, slots=True)
class RoundModel:
    """A model that a round trains for.

    Attributes:
        version: that serves; its head is what replayed rows shall not forget.
        row_limit, pinned_at, false_alarms, coverage: as in `ModelState`.
    """

    name: str
    version: int
    row_limit: int | None = None
    pinned_at: int = 0
    false_alarms: float = FALSE_ALARMS
    coverage: float = COVERAGE


@dataclass(frozen=True, slots=True)
class Train:
    """The fine-tuning round to work on now; none if `round_id` is empty.

    Attributes:
        attempt: grows when its trainer has ended too early and shall be started again.
        kind: "adapter" or "full".
        encoder_digest: the champion's encoder.
    """

    round_id: str = ""
    attempt: int = 0
    kind: str = "adapter"
    seed: int = 0
    trials: int = 0
    encoder_digest: str = ""
    models: tuple[RoundModel, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """Where a round stands.

    Attributes:
        phase: "training" or "checking".
        step, steps: of the training.
        remaining_s: estimated seconds that are left of it.
    """

    round_id: str
    phase: str
    step: int = 0
    steps: int = 0
    remaining_s: float = 0.0


@dataclass(frozen=True, slots=True)
class VectorsReady:
    """A round has left vectors of a new encoder for the adapt process (`vectors_file.py`)."""

    encoder_digest: str


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """A round has ended by itself.

    Attributes:
        outcome: "done" or "failed".
        reason: how it ended, in one sentence.
        metrics: hyper-parameters and scores.
    """

    round_id: str
    outcome: str
    reason: str
    encoder_digest: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


Round = Train | RoundProgress | VectorsReady | RoundEnded
