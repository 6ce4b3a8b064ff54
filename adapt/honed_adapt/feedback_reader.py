"""The adapt process's window on the feedback log: read-only, while the server writes.

Where it stands in the journey: feedback -> log (`feedback.py`) -> here -> the instant lane. One
reader belongs to one thread.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import apsw

from honed_adapt import feedback_rows
from honed_adapt.feedback_values import Entry, Kind
from honed_adapt.sqlite import open_reader, read_once


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
        """The next entries of all models in log order, at most `limit`."""
        return self._entries("e.position > ?", (after_position,), limit)

    def at(self, positions: Sequence[int]) -> list[Entry]:
        """The entries at these positions as they stand now, in log order; unknown ones left out."""
        where = "e.position IN (SELECT value FROM json_each(?))"
        return self._entries(where, (json.dumps(list(positions)),))

    def rows(self, model: str) -> list[Entry]:
        """All label entries of a model as they stand now, tombstones included, in log order."""
        return self._entries(f"e.model = ? AND {feedback_rows.IS_LABEL}", (model,))

    def anchors(self, model: str) -> list[tuple[str, str]]:
        """The anchor set of a model, (text, label) in the order of their first import."""
        return read_once(self._connection, lambda db: feedback_rows.anchors(db, model), self._path)

    def last_position(self, model: str = "") -> int:
        """Last position of the log, or of one model's entries; 0 if there is none."""
        return self._last("model = ?", model) if model else self._last("true")

    def last_deletion(self, model: str) -> int:
        """Position of a model's last deletion; 0 if there is none."""
        return self._last(f"model = ? AND kind = {Kind.DELETION}", model)

    def _last(self, where: str, *bindings: str) -> int:
        sql = f"SELECT coalesce(max(position), 0) FROM log WHERE {where}"

        def last(db: apsw.Connection) -> int:
            position = db.execute(sql, bindings).get
            assert isinstance(position, int), "positions are integers"
            return position

        return read_once(self._connection, last, self._path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _entries(self, where: str, bindings: Sequence[int | str], limit: int = -1) -> list[Entry]:
        return read_once(
            self._connection,
            lambda db: feedback_rows.entries(db, where, bindings, limit),
            self._path,
        )
