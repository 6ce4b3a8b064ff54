"""The words of the feedback log: what goes in, what comes out, what can be wrong.

Where it stands in the journey: immutable values shared by `feedback.py` (the durable log, in the
server) and `feedback_reader.py` (in the adapt process).
"""

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum

KEY_OF_DELETED = "FEEDBACK_DELETED"
KEY_TAKEN = "KEY_CONFLICT"


class Kind(IntEnum):
    """What an entry says; the numbers of the proto's FeedbackKind. Only AUDIT votes."""

    RESUMPTION = -1
    """The log's own record that learning goes on after a pause: what counts is other from here."""
    DELETION = 0
    """The log's own record of a deletion; like the one above never submitted and never on the wire.
    """
    CORRECTION = 1
    CONFIRMATION = 2
    AUDIT = 3
    RETRACTION = 4


class State(IntEnum):
    """What became of an entry; the numbers of the proto's FeedbackState.

    Where several hold, the one that forgets more wins:
    DELETED > RETRACTED > EXCLUDED > QUARANTINED > ACTIVE.
    """

    ACTIVE = 1
    RETRACTED = 2
    QUARANTINED = 3
    EXCLUDED = 4
    DELETED = 5


class FeedbackError(Exception):
    """One item could not be recorded or found; the subclass says why."""


class KeyConflict(FeedbackError):
    """The idempotency key belongs to another entry of this model: choose a new key.

    Attributes:
        reason: KEY_CONFLICT, or FEEDBACK_DELETED if that entry was deleted.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnknownFeedback(FeedbackError):
    """The model has no label entry of this id that could be withdrawn or deleted."""


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """One label, or one retraction, to record. Strings are empty and numbers 0 when unknown.

    Attributes:
        model: Name of the model.
        idempotency_key: Unique per model for ever.
        text: The labelled text; empty in a retraction.
        label: Its label; empty in a retraction.
        kind: What it says; none of the log's own.
        submitter: Who says so.
        weight: How much it counts, (0, 10].
        event_time: When it was labelled, Unix seconds.
        prediction_id: The answer it is about.
        predicted_label: What had been answered.
        predicted_version: By which version.
        predicted_revision: By which revision.
        retracts: Retractions only: feedback id of the label to withdraw.
    """

    model: str
    idempotency_key: str
    text: str
    label: str
    kind: Kind
    submitter: str = ""
    weight: float = 1.0
    event_time: float = 0.0
    prediction_id: str = ""
    predicted_label: str = ""
    predicted_version: int = 0
    predicted_revision: int = 0
    retracts: str = ""

    def content_hash(self) -> bytes:
        """SHA-256 of what makes two submissions under one key the same.

        The times and what had been answered are left out: a retry may carry other ones.
        """
        content = (
            self.text,
            self.label,
            int(self.kind),
            self.submitter,
            float(self.weight),
            self.prediction_id,
            self.retracts,
        )
        return hashlib.sha256(json.dumps(content).encode()).digest()


@dataclass(frozen=True, slots=True)
class Ack:
    """It is durable: its id, its log position, and whether it had been recorded before."""

    feedback_id: str
    position: int
    already_recorded: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One submitted entry as it stands now; the fields of the proto's FeedbackRecord.

    Times are Unix seconds. In a tombstone all that came from the text is empty or 0; in an entry
    that is not deleted `deleted_*` are.
    """

    feedback_id: str
    position: int
    idempotency_key: str
    prediction_id: str
    text: str
    label: str
    kind: Kind
    submitter: str
    weight: float
    event_time: float
    recorded_time: float
    state: State
    predicted_label: str
    predicted_version: int
    predicted_revision: int
    retracts: str
    deleted_position: int
    deleted_by: str
    deleted_time: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log as the adapt process follows it.

    Attributes:
        position: Place in the log; one sequence for all models.
        feedback_id: Its name.
        model: Whose entry it is.
        kind: Label kinds, RETRACTION, DELETION or RESUMPTION.
        text: The text; empty in a tombstone, a retraction and a deletion.
        text_hash: SHA-256 of the text; empty where the text is.
        label: The label; empty where the text is.
        submitter: Who submitted it, or who asked for the deletion.
        weight: How much it counts.
        state: What became of it by now, not at the time of the entry.
        retracts: Position of the label that a retraction withdraws, else 0.
        deletes: Positions that a deletion erased, retractions included: a label whose only
            retraction was erased is ACTIVE again.
    """

    position: int
    feedback_id: str
    model: str
    kind: Kind
    text: str
    text_hash: bytes
    label: str
    submitter: str
    weight: float
    state: State
    retracts: int
    deletes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion left.

    Attributes:
        position: Log position of the deletion; 0 if nothing was left to delete.
        tombstones: For each id, in order, the tombstone or why there is none.
        first_position: Lowest log position that this deletion erased, 0 if none.
    """

    position: int
    tombstones: list[Record | UnknownFeedback]
    first_position: int


@dataclass(frozen=True, slots=True)
class AnchorImport:
    """What an import changed.

    Attributes:
        imported: Examples added or changed.
        total: Examples in the set now.
        set_number: Number of the set; it grows with each change.
    """

    imported: int
    total: int
    set_number: int


def text_hash(text: str) -> bytes:
    """SHA-256 of the UTF-8 text."""
    return hashlib.sha256(text.encode()).digest()
