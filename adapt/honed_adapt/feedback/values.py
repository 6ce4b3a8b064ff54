"""The words of the feedback log: what goes in, what comes out, what can be wrong.

Where it stands in the journey: immutable values shared by `log.py` (the durable log, in the
server) and `reader.py` (in the adapt process).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from honed_adapt.shares import Shares

KEY_OF_DELETED = "FEEDBACK_DELETED"
KEY_TAKEN = "KEY_CONFLICT"


class Kind(IntEnum):
    """What an entry says; the numbers of the proto's FeedbackKind. Only AUDIT votes."""

    GROWTH = -3
    """The log's own record that a larger regression serves from here, which no label brought in."""
    DISTRUST = -2
    """The log's own record that labels of somebody count no more: others do not bear them out."""
    RESUMPTION = -1
    """The log's own record that learning goes on after a pause: what counts is other from here."""
    DELETION = 0
    """The log's own record of a deletion; like those above never submitted nor on the wire."""
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
        label: Its label, of several the one with the largest share; empty in a retraction.
        kind: What it says; none of the log's own.
        submitter: Who says so.
        weight: How much it counts, 0.000001 to 10.
        event_time: When it was labelled, Unix seconds.
        prediction_id: The answer it is about.
        predicted_label: What had been answered.
        predicted_version: By which version.
        predicted_revision: By which revision.
        retracts: Retractions only: feedback id of the label to withdraw.
        shares: Soft labels only: all its labels.
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
    shares: Shares = ()

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
            *self.shares,
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

    Attributes:
        influence: Share of `weight` that counts, see `influence.py`; decided at arrival.
        text_hash: SHA-256 of the text, which outlives it when texts are kept for a time only.
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
    influence: float = 1.0
    text_hash: bytes = b""
    shares: Shares = ()

    @property
    def counts(self) -> float:
        """The weight that it is learned with."""
        return self.weight * self.influence


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log as the adapt process follows it.

    Attributes:
        position: Place in the log; one sequence for all models.
        feedback_id: Its name.
        model: Whose entry it is.
        kind: Label kinds, RETRACTION, or one of the log's own.
        text: The text; empty where it is not kept any more, and in all that is no label.
        text_hash: SHA-256 of the text; empty in a tombstone and in all that is no label.
        label: The label, of several the one with the largest share; empty where the hash is.
        submitter: Who submitted it, or who asked for the deletion.
        weight: How much it counts, after the cap on influence.
        state: What became of it by now, not at the time of the entry.
        retracts: Position of the label that a retraction withdraws, else 0.
        deletes: Positions that a deletion erased, retractions included: a label whose only
            retraction was erased is ACTIVE again.
        sets_aside: Positions that a DISTRUST took out of what counts.
        shares: All labels of a soft label, else empty.
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
    sets_aside: tuple[int, ...] = ()
    shares: Shares = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entries of a model to delete: by id, or else by submitter, by time, or by both; or all.

    Attributes:
        feedback_ids: These, and then nothing else is looked at; None for any.
        submitter: All of this submitter, of all if empty.
        recorded_from: Recorded at or after this, Unix seconds.
        recorded_until: Recorded before this, Unix seconds; infinite for no end.
    """

    feedback_ids: Sequence[str] | None = None
    submitter: str = ""
    recorded_from: float = 0.0
    recorded_until: float = math.inf


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion left.

    Attributes:
        position: Log position of the deletion; 0 if nothing was left to delete.
        tombstones: For each id, in order, the tombstone or why there is none; without ids nothing.
        first_position: Lowest log position that this deletion erased, 0 if none.
        entries: How many entries it erased.
        newest: Last deletion that erased any of what was named, this or an earlier one; 0 if none.
    """

    position: int
    tombstones: list[Record | UnknownFeedback]
    first_position: int
    entries: int
    newest: int


@dataclass(frozen=True, slots=True)
class DeletionRow:
    """A deletion on record.

    Attributes:
        position: Its log position.
        model: Whose entries it erased.
        time: When, Unix seconds.
        requested_by: Who asked for it.
        submitter: Who was to be forgotten, empty if it named something else.
        first_position: Lowest log position that it erased.
        served_revision: First revision that served without, 0 while none has.
        difference: Largest relative difference from a fresh build of the lane; None if unknown.
        feedback_ids: What it erased, at most as many as were asked for.
    """

    position: int
    model: str
    time: float
    requested_by: str
    submitter: str
    first_position: int
    served_revision: int
    difference: float | None
    feedback_ids: tuple[str, ...] = ()

    def touches(self, learned_to: int) -> bool:
        """Whether what was learned up to a log position, before this, learned any of it."""
        return self.first_position <= learned_to < self.position


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
