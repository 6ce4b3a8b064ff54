"""The values that callers hold: what was asked about, answered, recorded and decided.

All are immutable. Fields have the names of the `honed.v1` messages, where each is described with
its range; times are aware UTC `datetime`s, durations are seconds, enumerations are the lower-case
words of the protocol, and "unknown" is a word that only a newer server knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from honed.deletion_types import DeletionRecord, TaintedVersion
from honed.errors import HonedError
from honed.model_types import (
    Decision,
    Drift,
    Expert,
    Export,
    Learning,
    Model,
    ModelEvent,
    Policy,
    Trial,
    Version,
)
from honed.prediction_types import Prediction, Replay, Score

__all__ = [  # noqa: RUF022  (grouped by use)
    "Prediction",
    "Score",
    "Replay",
    "FeedbackItem",
    "FeedbackKind",
    "LabelShare",
    "FeedbackAck",
    "FeedbackRecord",
    "Deletion",
    "DeletionRecord",
    "TaintedVersion",
    "AnchorImport",
    "SpoolFlush",
    "new_key",
    "Model",
    "Version",
    "Decision",
    "ModelEvent",
    "Policy",
    "Trial",
    "Export",
    "Learning",
    "Expert",
    "Drift",
]


class FeedbackKind(StrEnum):
    """What a label says about an answer; all but RETRACTION train, only AUDIT votes."""

    CORRECTION = "correction"
    """The answer was wrong."""
    CONFIRMATION = "confirmation"
    """The answer was right."""
    AUDIT = "audit"
    """Drawn at random, or complete labelling."""
    RETRACTION = "retraction"
    """Withdraws an earlier entry."""


def new_key() -> str:
    """A random idempotency key, 32 hexadecimal characters."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class LabelShare:
    """A label's part in a soft label: `share` of the text is `label`; the shares sum to 1."""

    label: str
    share: float


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """One label for one text, to be submitted.

    Attributes:
        text: The labelled text; may be empty when `prediction_id` is still known to the server.
        label: The right label; a new name becomes a new label. Where one label does not say it, a
            mapping of 2 to 16 labels to their shares, which sum to 1: `{"refund": 0.7, "complaint":
            0.3}` (`honed.v1` calls it `shares`).
        kind: What the label says.
        prediction_id: The answer this is about, if any.
        submitter: Who says so.
        weight: How much it counts, 0.000001 to 10.
        event_time: When it was labelled; the time of arrival if None.
        retracts: RETRACTION only: id of the entry to withdraw.
        idempotency_key: Makes a repetition harmless, for ever; random if not given, so the same
            item may be submitted again after any failure.
    """

    text: str = ""
    label: str | Mapping[str, float] = ""
    kind: FeedbackKind = FeedbackKind.AUDIT
    prediction_id: str = ""
    submitter: str = ""
    weight: float = 1.0
    event_time: datetime | None = None
    retracts: str = ""
    idempotency_key: str = field(default_factory=new_key)


@dataclass(frozen=True, slots=True)
class FeedbackAck:
    """Says that a label is durable.

    Attributes:
        feedback_id: Names the entry for `delete` and `retract`.
        position: Position in the log; a revision >= position has considered it.
        already_recorded: Whether the same key and content had been recorded before.
        served: With `wait`: whether a revision at or past `position` serves.
        served_version: With `wait`: version that serves now.
        served_revision: With `wait`: revision that serves now.
        quarantined: With `wait`: whether the anchor guard keeps it from having influence.
        spooled: Whether the server was away and the client's spool holds it instead; then the
            other fields are empty.
    """

    feedback_id: str
    position: int
    already_recorded: bool
    served: bool
    served_version: int
    served_revision: int
    quarantined: bool
    spooled: bool = False


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """One entry of the feedback log; text, label and idempotency key are empty in a tombstone.

    Of a soft label `shares` has all labels, largest share first, and `label` is the first of them.
    `kind` is a `FeedbackKind` word; `state` is "active", "retracted", "quarantined", "excluded" or
    "deleted". `predicted_*` tell what had been answered, `deleted_*` are set in a tombstone.
    """

    feedback_id: str
    position: int
    idempotency_key: str
    prediction_id: str
    text: str
    label: str
    kind: str
    submitter: str
    weight: float
    event_time: datetime | None
    recorded_time: datetime | None
    state: str
    predicted_label: str
    predicted_version: int
    predicted_revision: int
    retracts: str
    deleted_position: int
    deleted_by: str
    deleted_time: datetime | None
    shares: tuple[LabelShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """The record of a deletion, which can be checked.

    Attributes:
        results: One for each id, in order: the tombstone that is left, or why there is none.
        position: Log position of the deletion; 0 if nothing was left to delete.
        served_version: Version that serves without it.
        served_revision: Revision that serves without it.
        tainted_versions: Versions on disk learned from it; not served again as they are.
        deleted: Entries that this call deleted.
        record: What `list_deletions` goes on showing; None from a server that does not say it.
    """

    results: tuple[FeedbackRecord | HonedError, ...]
    position: int
    served_version: int
    served_revision: int
    tainted_versions: tuple[int, ...]
    deleted: int = 0
    record: DeletionRecord | None = None


@dataclass(frozen=True, slots=True)
class AnchorImport:
    """What the anchor set holds after an import.

    Attributes:
        imported: Examples added or changed.
        total: Examples in the set now.
        unknown_labels: Labels of the set that the model does not know (yet).
    """

    imported: int
    total: int
    unknown_labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpoolFlush:
    """What became of the feedback that waited in the spool.

    Attributes:
        recorded: Labels that the server has recorded, now or before.
        rejected: Labels that it refused; they stand in `rejected.jsonl` beside the spool.
    """

    recorded: int
    rejected: int
