"""The adapt process's window on the feedback log: read-only, while the server writes.

Where it stands in the journey: feedback -> log (`log.py`) -> here -> the instant lane. One
reader belongs to one thread.
"""

from pathlib import Path
from types import TracebackType

import apsw

from honed_adapt.feedback import rows as feedback_rows
from honed_adapt.feedback.deletions import deletions
from honed_adapt.feedback.values import DeletionRow, Entry, Kind, Record
from honed_adapt.storage.sqlite import open_reader, read_once


class FeedbackReader:
    """Follows a log that another process writes.

    Args:
        path: feedback.sqlite, which must exist.

    Raises:
        StoreDamaged: If it is missing or not a database. All methods may raise a `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)

    def __enter__(self) -> "FeedbackReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def entries(self, after_position: int, limit: int) -> list[Entry]:
        """The next entries of all models in log order, at most `limit`.

        Labels that are retracted only later count: the last entry is all that happened.
        """
        until = "SELECT max(position) FROM (SELECT position FROM log WHERE position > ? LIMIT ?)"

        def read(db: apsw.Connection) -> list[Entry]:
            last = db.execute(until, (after_position, limit)).get or 0
            where = "e.position > :first AND e.position <= :last"
            return feedback_rows.entries(
                db, where, {"first": after_position, "last": last}, last, last
            )

        return read_once(self._connection, read, self._path)

    def counting(
        self, model: str, row_limit: int | None, pinned_at: int = 0
    ) -> tuple[int, list[Entry]]:
        """All label entries of a model, and the revision at which they stand so, from one look.

        Args:
            model: Whose.
            row_limit: Last position that counts, but for deletions, which always do; None for all.
            pinned_at: With a limit: a later deletion makes a new revision of what counts.

        Returns:
            The revision, and the entries in log order, tombstones included.
        """

        def read(db: apsw.Connection) -> tuple[int, list[Entry]]:
            with db:  # one snapshot: no entry may come between the two
                deletion = _last(db, f"model = ? AND kind = {Kind.DELETION}", model)
                last = _last(db, "model = ?", model) if row_limit is None else row_limit
                news = row_limit is None or deletion > pinned_at
                revision = max(last, deletion) if news else last
                where = f"e.model = :model AND e.position <= :last AND {feedback_rows.IS_LABEL}"
                bindings = {"model": model, "last": last}
                found = feedback_rows.entries(db, where, bindings, last, revision)
            return revision, found

        return read_once(self._connection, read, self._path)

    def texts(self, model: str, row_limit: int | None, pinned_at: int = 0) -> dict[int, str]:
        """The texts of what `counting` finds, by log position; those that are gone are left out."""
        _, entries = self.counting(model, row_limit, pinned_at)
        return {entry.position: entry.text for entry in entries if entry.text}

    def history(self, model: str) -> list[Record]:
        """All that was ever submitted for a model, deletions told by tombstones, in log order."""
        return read_once(
            self._connection,
            lambda db: feedback_rows.records(db, "e.model = ?", (model,)),
            self._path,
        )

    def deletions(self, model: str, after: int) -> list[DeletionRow]:
        """The deletions of a model past a position, oldest first, without ids."""
        return read_once(
            self._connection, lambda db: deletions(db, model, after, ids=0), self._path
        )

    def anchors(self, model: str) -> list[tuple[str, str]]:
        """The anchor set of a model, (text, label) in the order of their first import."""
        return read_once(self._connection, lambda db: feedback_rows.anchors(db, model), self._path)

    def last_position(self) -> int:
        """Last position of the log; 0 if it is empty."""
        return read_once(self._connection, lambda db: _last(db, "true"), self._path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _last(db: apsw.Connection, where: str, *bindings: str) -> int:
    position = db.execute(f"SELECT coalesce(max(position), 0) FROM log WHERE {where}", bindings).get
    assert isinstance(position, int), "positions are integers"
    return position
