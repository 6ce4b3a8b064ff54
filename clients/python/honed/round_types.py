"""The values about fine-tuning rounds that callers hold, under the rules of `types.py`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Round:
    """One fine-tuning of an encoder.

    Attributes:
        round_id: Identifies it.
        models: Models that it trains for.
        state: "queued", "training", "checking", "done", "failed" or "cancelled".
        kind: "adapter" (low-rank) or "full" (all weights).
        trigger: What started it: "count", "time", "drift" or "request".
        create_time: When it was asked for.
        end_time: When it ended, None while it has not.
        step: Steps done.
        steps: Steps in all.
        remaining_s: Estimated seconds that are left.
        encoder_digest: Encoder that came out, empty while none has.
        versions: Versions that its candidates became, in the order of `models`; 0 for none.
        reason: How it ended, in one sentence.
        metrics_json: Hyper-parameters and scores, a JSON object.
    """

    round_id: str
    models: tuple[str, ...]
    state: str
    kind: str
    trigger: str
    create_time: datetime | None
    end_time: datetime | None
    step: int
    steps: int
    remaining_s: float
    encoder_digest: str
    versions: tuple[int, ...]
    reason: str
    metrics_json: str

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("queued", "training", "checking")
