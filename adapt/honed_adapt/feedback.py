"""The durable feedback log: an acknowledged label survives `kill -9` and power loss, exactly once.

Where it stands in the journey: service -> `FeedbackLog.submit` (commit with fsync, then
acknowledge) -> the adapt process follows with `FeedbackReader`. One sequence of positions for all
models; entries are never removed, deletions blank them and are entries themselves.
"""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from honed_adapt import anchors, feedback_rows, feedback_writes
from honed_adapt.feedback_reader import FeedbackReader
from honed_adapt.feedback_values import (
    KEY_OF_DELETED,
    KEY_TAKEN,
    Ack,
    AnchorImport,
    Deletion,
    Entry,
    FeedbackError,
    KeyConflict,
    Kind,
    NewFeedback,
    Record,
    State,
    UnknownFeedback,
    text_hash,
)
from honed_adapt.sqlite import Database, StoreFailed

__all__ = [
    "KEY_OF_DELETED",
    "KEY_TAKEN",
    "Ack",
    "AnchorImport",
    "Deletion",
    "Entry",
    "FeedbackError",
    "FeedbackLog",
    "FeedbackReader",
    "KeyConflict",
    "Kind",
    "NewFeedback",
    "Record",
    "State",
    "UnknownFeedback",
    "text_hash",
]


class FeedbackLog:
    """The log in the server process; any thread may call its methods.

    Writes return futures that resolve after the commit is on disk and raise a `StoreError` if it
    could not be; reads may raise one too.

    Args:
        path: feedback.sqlite; made when missing.
        clock: Gives the time of recording, Unix seconds.

    Raises:
        StoreError: If the file cannot be opened soundly, see `Database`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, feedback_rows.SCHEMA)
        self._clock = clock

    @property
    def failure(self) -> StoreFailed | None:
        """Why the log stopped recording for good, or None while it works."""
        return self._database.failure

    def submit(self, items: Sequence[NewFeedback]) -> Future[list[Ack | FeedbackError]]:
        """Record labels and retractions; items succeed or fail one by one.

        Returns:
            A future of one result for each item, in order: an `Ack`, a `KeyConflict` (the key was
            used for other content, or its entry was deleted) or `UnknownFeedback` (nothing to
            retract).
        """
        now = self._clock()
        return self._database.write(
            lambda db: [feedback_writes.record(db, item, now) for item in items]
        )

    def list(
        self, model: str, after_position: int, limit: int, label: str = "", submitter: str = ""
    ) -> list[Record]:
        """Submitted entries after a position in log order, deleted ones as tombstones.

        Args:
            model: Name of the model.
            after_position: 0, or the position of the last record of the page before.
            limit: At most so many.
            label: Only entries of this label, unless empty.
            submitter: Only entries of this submitter, unless empty.
        """
        where = "e.model = ? AND e.position > ? AND ? IN ('', e.label) AND ? IN ('', e.submitter)"
        bindings = (model, after_position, label, submitter)
        return self._database.read(lambda db: feedback_rows.records(db, where, bindings, limit))

    def delete(self, model: str, ids: Sequence[str], who: str) -> Future[Deletion]:
        """Blank entries for good and leave tombstones; repeating it is harmless.

        The bytes are gone from the files only after `erase`.
        """
        now = self._clock()
        return self._database.write(lambda db: feedback_writes.delete(db, model, ids, who, now))

    def delete_model(self, model: str, who: str) -> Future[int]:
        """Blank all entries of a model and drop its anchor set.

        Returns:
            A future of the number of entries blanked now. Their bytes go with `erase`.
        """
        now = self._clock()
        return self._database.write(lambda db: feedback_writes.delete_model(db, model, who, now))

    def resume(self, model: str, who: str) -> Future[int]:
        """Note that learning goes on after a pause, so that no revision names two heads.

        Returns:
            A future of the position of the note.
        """
        now = self._clock()
        return self._database.write(lambda db: feedback_writes.resume(db, model, who, now))

    def erase(self) -> Future[None]:
        """Wipe what was blanked so far from the write-ahead log, see `Database.erase`."""
        return self._database.erase()

    def mark(self, positions: Sequence[int], state: State, decision_id: str) -> Future[int]:
        """Set what a logged decision makes of labels.

        Args:
            positions: Log positions of labels; others and deleted ones are left alone.
            state: QUARANTINED (never lifts an exclusion), EXCLUDED, or ACTIVE (lifts both).
            decision_id: The decision in the registry.

        Returns:
            A future of the number of labels marked.
        """
        assert state in (State.ACTIVE, State.QUARANTINED, State.EXCLUDED), "not a mark"
        return self._database.write(
            lambda db: feedback_writes.mark(db, positions, state, decision_id)
        )

    def positions(self, model: str, first: int, last: int, submitter: str = "") -> Sequence[int]:
        """Positions of the undeleted labels from `first` to `last`, of one submitter if given."""
        where = f"""
            e.model = ? AND e.position BETWEEN ? AND ? AND ? IN ('', e.submitter)
            AND e.deleted_position IS NULL AND {feedback_rows.IS_LABEL}
        """
        bindings = (model, first, last, submitter)
        return self._database.read(lambda db: feedback_rows.positions(db, where, bindings))

    def find(self, model: str, ids: Sequence[str]) -> Sequence[Record]:
        """The entries of a model with these ids, in log order; unknown ids are left out."""
        where = "e.model = ? AND e.feedback_id IN (SELECT value FROM json_each(?))"
        bindings = (model, json.dumps(list(ids)))
        return self._database.read(lambda db: feedback_rows.records(db, where, bindings, len(ids)))

    def last_position(self, model: str) -> int:
        """Position of the last entry of a model, deletions included; 0 if there is none."""
        sql = "SELECT max(position) FROM log WHERE model = ?"
        return self._database.read(lambda db: db.execute(sql, (model,)).get) or 0

    def import_anchor(
        self, model: str, examples: Sequence[tuple[str, str]], replace: bool
    ) -> Future[AnchorImport]:
        """Add (text, label) pairs to the anchor set; a text already there gets the new label.

        Args:
            model: Name of the model.
            examples: Pairs of text and label; the last label of a text counts.
            replace: Whether to drop the present set first.
        """
        return self._database.write(lambda db: anchors.change(db, model, examples, replace))

    def anchors(self, model: str) -> Sequence[tuple[str, str]]:
        """The anchor set of a model, (text, label) in the order of their first import."""
        return self._database.read(lambda db: feedback_rows.anchors(db, model))

    def anchor_set_number(self, model: str) -> int:
        """Number of the anchor set of a model: 0 if it never had one, growing with each change."""
        return self._database.read(lambda db: anchors.number(db, model))

    def close(self) -> None:
        """Finish the queued writes and close the file."""
        self._database.close()
