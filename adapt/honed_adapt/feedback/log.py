"""The durable feedback log: an acknowledged label survives `kill -9` and power loss, exactly once.

Where it stands in the journey: service -> `FeedbackLog.submit` (commit with fsync, then
acknowledge) -> the adapt process follows with `FeedbackReader`. One sequence of positions for all
models; entries are never removed, deletions blank them and are entries themselves.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import apsw

from honed_adapt.feedback import anchors
from honed_adapt.feedback import audits as feedback_audits
from honed_adapt.feedback import deletions as feedback_deletions
from honed_adapt.feedback import rows as feedback_rows
from honed_adapt.feedback import writes as feedback_writes
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.values import (
    KEY_OF_DELETED,
    KEY_TAKEN,
    Ack,
    AnchorImport,
    Deletion,
    DeletionRow,
    Entry,
    FeedbackError,
    KeyConflict,
    Kind,
    NewFeedback,
    Record,
    Selector,
    State,
    UnknownFeedback,
    text_hash,
)
from honed_adapt.storage.sqlite import Database, StoreFailed
from honed_adapt.trust.influence import Cap

__all__ = [
    "KEY_OF_DELETED",
    "KEY_TAKEN",
    "Ack",
    "AnchorImport",
    "Deletion",
    "DeletionRow",
    "Entry",
    "FeedbackError",
    "FeedbackLog",
    "FeedbackReader",
    "KeyConflict",
    "Kind",
    "NewFeedback",
    "Record",
    "Selector",
    "State",
    "UnknownFeedback",
    "text_hash",
]

T = TypeVar("T")


class FeedbackLog:
    """The log in the server process; any thread may call its methods.

    Writes return futures that resolve after the commit is on disk and raise a `StoreError` if it
    could not be; reads may raise one too.

    Args:
        path: feedback.sqlite; made when missing.
        clock: Gives the time of recording, Unix seconds.
        cap: How much one submitter may weigh; also an attribute.

    Raises:
        StoreError: If the file cannot be opened soundly, see `Database`.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, cap: Cap | None = None
    ) -> None:
        self._database = Database(path, feedback_rows.SCHEMA)
        self._clock = clock
        self.cap = cap or Cap()

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
        return self._database.write(lambda db: feedback_writes.record(db, items, self.cap, now))

    def list(
        self, model: str, after_position: int, limit: int, label: str = "", submitter: str = ""
    ) -> list[Record]:
        """Submitted entries after a position in log order, deleted ones as tombstones.

        Args:
            model: Name of the model.
            after_position: 0, or the position of the last record of the page before.
            limit: At most so many.
            label: Only entries of this label, or with a share of it, unless empty.
            submitter: Only entries of this submitter, unless empty.
        """
        where = """
            e.model = ? AND e.position > ? AND ? IN ('', e.submitter) AND (? IN ('', e.label)
            OR EXISTS (SELECT 1 FROM json_each(e.shares) WHERE json_extract(value, '$[0]') = ?))
        """
        bindings = (model, after_position, submitter, label, label)
        return self._database.read(lambda db: feedback_rows.records(db, where, bindings, limit))

    def delete(self, model: str, selector: Selector, who: str) -> Future[Deletion]:
        """Delete entries for good, all at once, and leave tombstones; repeating it is harmless.

        The bytes are gone from the files only after `blank` of all that is `marked`, and `erase`.
        """
        now = self._clock()
        return self._database.write(
            lambda db: feedback_deletions.delete(db, model, selector, who, now)
        )

    def delete_model(self, model: str, who: str) -> Future[int]:
        """Delete all entries of a model and drop its anchor set, as `delete` does.

        Returns:
            A future of the number of entries deleted now.
        """
        now = self._clock()
        return self._database.write(lambda db: feedback_deletions.delete_model(db, model, who, now))

    def marked(self) -> Sequence[feedback_deletions.Marked]:
        """Some of what is deleted and is not blanked yet, also from before a crash; or nothing."""
        return self._database.read(feedback_deletions.marked)

    def blank(self, positions: Sequence[int]) -> Future[None]:
        """Blank entries that are deleted; others are left alone."""
        return self._database.write(lambda db: feedback_deletions.blank(db, positions))

    def deletions(self, model: str, after: int = 0, ids: int = 0) -> Sequence[DeletionRow]:
        """The deletions of a model past a position, oldest first, with at most `ids` ids each."""
        return self._database.read(lambda db: feedback_deletions.deletions(db, model, after, ids))

    def note_served(self, model: str, position: int, revision: int) -> Future[None]:
        """Note the first revision without what deletions up to a position erased."""
        return self._database.write(
            lambda db: feedback_deletions.note_served(db, model, position, revision)
        )

    def note_difference(self, position: int, difference: float) -> Future[None]:
        """Note how far the lane was from a fresh build after the deletion at that position."""
        return self._database.write(
            lambda db: feedback_deletions.note_difference(db, position, difference)
        )

    def set_aside(self, model: str, positions: Sequence[int], decision_id: str) -> Future[int]:
        """Put labels that had counted into quarantine, from a new revision on.

        Returns:
            A future of the log position of that revision.
        """
        now = self._clock()
        return self._database.write(
            lambda db: feedback_writes.set_aside(db, model, positions, decision_id, now)
        )

    def forget_texts(self, before: float, limit: int) -> Future[int]:
        """Blank some texts recorded before a time, Unix seconds; their labels stay.

        Returns:
            A future of their number; below `limit` when none is left. Bytes go with `erase`.
        """
        return self._database.write(lambda db: feedback_writes.forget_texts(db, before, limit))

    def resume(self, model: str, who: str) -> Future[int]:
        """Note that learning goes on after a pause, so that no revision names two heads.

        Returns:
            A future of the position of the note.
        """
        return self._note(model, Kind.RESUMPTION, who)

    def grow(self, model: str) -> Future[int]:
        """Note that a larger regression serves from here, so that no revision names two heads.

        Returns:
            A future of the position of the note.
        """
        return self._note(model, Kind.GROWTH, "experts")

    def _note(self, model: str, kind: Kind, who: str) -> Future[int]:
        now = self._clock()
        return self._database.write(lambda db: feedback_writes.add_own(db, model, kind, who, now))

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

    def at(self, model: str, positions: Sequence[int]) -> Sequence[Record]:
        """The entries of a model at these positions, in log order."""
        where = "e.model = ? AND e.position IN (SELECT value FROM json_each(?))"
        bindings = (model, json.dumps(list(positions)))
        return self._database.read(lambda db: feedback_rows.records(db, where, bindings))

    def ask(self, question: Callable[[apsw.Connection], T]) -> T:
        """Answer a question of `questions.py`."""
        return self._database.read(question)

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

    def counting_audits(self, model: str, positions: Sequence[int]) -> dict[int, str]:
        """Labels by position of the audits that vote, see `feedback_audits.counting`."""
        return self._database.read(lambda db: feedback_audits.counting(db, model, positions))

    def unknown_audits(self, model: str, learned: Mapping[int, int]) -> dict[int, str]:
        """Those whose text was not known when it was answered, see `feedback_audits.unknown`."""
        return self._database.read(lambda db: feedback_audits.unknown(db, model, learned))

    def audited_labels(self, model: str) -> frozenset[str]:
        """The labels that recent audits of a model name."""
        return self._database.read(lambda db: feedback_audits.labels(db, model))

    def close(self) -> None:
        """Finish the queued writes and close the file."""
        self._database.close()
