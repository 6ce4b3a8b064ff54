"""The prediction log: what was answered, so that feedback can name an answer by its id.

Off the answer's path: `add` only appends in memory, and `flush` hands what has gathered to a writer
thread: one transaction for many answers. The newest answers are looked up in memory, older ones in
predictions.sqlite. Ids that were not yet written when the process died are lost; feedback that
carries its text does not need them.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import apsw
import structlog

from honed_adapt.encoders.store import Precision
from honed_adapt.storage.errors import StoreDamaged, StoreError
from honed_adapt.storage.sqlite import Database

T = TypeVar("T")
log = structlog.get_logger(__name__)

_SCHEMA = (
    """
    CREATE TABLE predictions (
        number INTEGER PRIMARY KEY, prediction_id TEXT NOT NULL, model TEXT NOT NULL, text TEXT,
        text_key INTEGER, label TEXT NOT NULL, version INTEGER NOT NULL, revision INTEGER NOT NULL,
        time REAL NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX by_id ON predictions (prediction_id);
    CREATE INDEX by_text ON predictions (model, text_key);
    """,
    # Unknown (NULL) in rows of an earlier Honed.
    "ALTER TABLE predictions ADD COLUMN probability REAL;",
    "ALTER TABLE predictions ADD COLUMN precision TEXT NOT NULL DEFAULT 'fp32';",
)
# Rows written between two prunings, and rows that one pruning may empty: it must keep up.
_PRUNE_EVERY = 2_000
_PRUNE_ROWS = 10_000
# Emptied rows that stay before the oldest kept one, more than three pages hold: a removal moves its
# neighbours, and SQLite does not wipe the places that those leave.
_EMPTY_ROWS = 1_000
# Rows that are written without waiting for `flush`.
_MOST_WAITING = 256
# Rows that a look for the newest answers of one model goes through at most.
_LOOKED_THROUGH = 200_000
_COLUMNS = "prediction_id, model, text, label, probability, version, revision, time, precision"
_BLANK = "UPDATE predictions SET text = NULL, text_key = NULL WHERE"
# A row without a model is emptied, and nobody finds it.
_EMPTY = """
    UPDATE predictions SET prediction_id = CAST(number AS TEXT), model = '', text = NULL,
        text_key = NULL, label = '', version = 0, revision = 0, probability = NULL
    WHERE number IN (SELECT number FROM predictions WHERE model <> '' ORDER BY number LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One answer: its best label, and what computed it.

    Attributes:
        text: The text that was asked about; None where texts are not kept.
        probability: Of the label; None if an earlier Honed, which did not keep it, answered.
        time: When it was answered, Unix seconds.
        precision: What it was computed in.
    """

    prediction_id: str
    model: str
    text: str | None
    label: str
    probability: float | None
    version: int
    revision: int
    time: float
    precision: Precision = "fp32"


class PredictionLog:
    """The log of one server. Called from the event loop, but for `find`.

    Args:
        path: predictions.sqlite; if damaged it is set aside and a new one begun.
        store_texts: Whether texts are kept on disk.
        max_age_s: Seconds that answers are kept.
        max_bytes: Size of the file that is kept to.
        memory_rows: Answers kept in memory.
        memory_bytes: Bytes of text kept in memory.
        redacted: Takes out of a text what shall not be kept, in memory too.
    """

    def __init__(
        self,
        path: Path,
        *,
        store_texts: bool = True,
        max_age_s: float = 7 * 86_400,
        max_bytes: int = 1 << 30,
        memory_rows: int = 50_000,
        memory_bytes: int = 32 << 20,
        redacted: Callable[[str], str] = str,
    ) -> None:
        self._database = _open(path)
        self._store_texts = store_texts
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._memory_rows = memory_rows
        self._memory_bytes = memory_bytes
        self.redacted = redacted
        self._recent: OrderedDict[str, PredictionRow] = OrderedDict()
        self._recent_bytes = 0
        self._waiting: list[PredictionRow] = []
        self._since_pruned = 0
        self.dropped = 0

    def close(self) -> None:
        """Writes what is waiting and closes the file."""
        self.flush()
        self._database.close()

    def add(self, rows: Sequence[PredictionRow]) -> None:
        """Logs answers, in memory at once and on disk after the next `flush`; returns at once."""
        if self.redacted is not str:
            rows = [replace(row, text=row.text and self.redacted(row.text)) for row in rows]
        for row in rows:
            self._recent[row.prediction_id] = row
            self._recent_bytes += len(row.text or "")
        while len(self._recent) > self._memory_rows or self._recent_bytes > self._memory_bytes:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= len(oldest.text or "")
        self._waiting.extend(rows)
        if len(self._waiting) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Has the writer take what waits; what the disk does not take is counted in `dropped`."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        self._database.write(lambda db: self._insert(db, rows)).add_done_callback(
            lambda done: self._count_dropped(done, len(rows))
        )
        self._since_pruned += len(rows)
        if self._since_pruned >= _PRUNE_EVERY:
            self._since_pruned = 0
            self.prune(time.time()).add_done_callback(_tell_unpruned)

    def prune(self, now: float) -> Future[int]:
        """Erases some of the oldest answers that are too old or too many.

        Args:
            now: Unix seconds.

        Returns:
            A future of their number; 0 when none is left.
        """
        cutoff = now - self._max_age_s
        self._forget_recent(takewhile(lambda row: row.time < cutoff, self._recent.values()))
        return self._erased(lambda db: self._prune(db, cutoff))

    def recent(self, prediction_id: str) -> PredictionRow | None:
        """An answer that is still in memory."""
        return self._recent.get(prediction_id)

    def find(self, prediction_id: str) -> PredictionRow | None:
        """An answer that is on disk; call it in a thread."""
        sql = f"SELECT {_COLUMNS} FROM predictions WHERE prediction_id = ? AND model <> ''"
        rows = self._database.read(lambda db: list(db.execute(sql, (prediction_id,))))
        return PredictionRow(*rows[0]) if rows else None

    def latest(self, model: str, limit: int) -> list[PredictionRow]:
        """The newest answers of a model whose texts are known, oldest first; call it in a thread.

        Answers of other models are passed over, but not for ever.
        """
        inner = f"SELECT * FROM predictions ORDER BY number DESC LIMIT {_LOOKED_THROUGH:d}"
        sql = f"SELECT {_COLUMNS} FROM ({inner}) WHERE model = ? ORDER BY number DESC LIMIT ?"
        rows = self._database.read(lambda db: list(db.execute(sql, (model, limit))))
        found = [PredictionRow(*row) for row in rows[::-1]]
        # Texts that are not kept on disk may still be in memory.
        known = (row if row.text else self.recent(row.prediction_id) for row in found)
        return [row for row in known if row is not None and row.text]

    def forget(self, model: str, links: Sequence[tuple[str, str]]) -> Future[None]:
        """Blanks texts, here and on disk, before the future resolves.

        Args:
            model: Whose answers.
            links: (prediction id, text): answers of that id, and all answers to that text.
        """
        ids, texts = {i for i, _ in links if i}, {text for _, text in links if text}
        self._forget_recent(
            row
            for row in self._recent.values()
            if row.model == model and (row.prediction_id in ids or row.text in texts)
        )

        def blank(db: apsw.Connection) -> None:
            db.executemany(f"{_BLANK} model = ? AND prediction_id = ?", [(model, i) for i in ids])
            keys = [(model, _text_key(text), text) for text in texts]
            db.executemany(f"{_BLANK} model = ? AND text_key = ? AND text = ?", keys)

        return self._erased(blank)

    def forget_model(self, model: str) -> Future[None]:
        """Blanks the texts of all answers of a model."""
        self._forget_recent(row for row in self._recent.values() if row.model == model)

        def blank(db: apsw.Connection) -> None:
            db.execute(f"{_BLANK} model = ? AND text_key IS NOT NULL", (model,))

        return self._erased(blank)

    def _erased(self, change: Callable[[apsw.Connection], T]) -> Future[T]:
        self.flush()  # first, so that the change finds what waits
        changed = self._database.write(change)
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()  # a caller who leaves does not stop the erasure

        def settle(erased: Future[None]) -> None:
            # The writer works in order, so `changed` is done too.
            if error := changed.exception() or erased.exception():
                result.set_exception(error)
            else:
                result.set_result(changed.result())

        self._database.erase().add_done_callback(settle)
        return result

    def _forget_recent(self, rows: Iterable[PredictionRow]) -> None:
        for row in list(rows):
            del self._recent[row.prediction_id]
            self._recent_bytes -= len(row.text or "")

    def _insert(self, db: apsw.Connection, rows: Sequence[PredictionRow]) -> None:
        db.executemany(
            "INSERT INTO predictions (prediction_id, model, text, text_key, label, probability,"
            " version, revision, time, precision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_values(row, self._store_texts) for row in rows],
        )

    def _prune(self, db: apsw.Connection, cutoff: float) -> int:
        """Empties the oldest rows, and removes those that no kept row is near. Returns how many."""
        db.execute(f"{_EMPTY} AND time < ?", (_PRUNE_ROWS, cutoff))
        emptied = db.changes()
        used = (db.pragma("page_count") - db.pragma("freelist_count")) * db.pragma("page_size")
        if used > self._max_bytes:
            sql = "SELECT max(number) - min(number) + 1 FROM predictions"
            excess = math.ceil(db.execute(sql).get * (1 - self._max_bytes / used))
            db.execute(_EMPTY, (min(excess, _PRUNE_ROWS),))
            emptied += db.changes()
        kept = db.execute("SELECT min(number) FROM predictions WHERE model <> ''").get
        end = math.inf if kept is None else kept - _EMPTY_ROWS
        db.execute("DELETE FROM predictions WHERE number < ?", (end,))
        return emptied

    def _count_dropped(self, done: Future[None], rows: int) -> None:
        error = done.exception()
        if error is not None:
            self.dropped += rows
            if not isinstance(error, StoreError):
                raise error


def _tell_unpruned(done: Future[int]) -> None:
    if (error := done.exception()) is not None:
        log.warning("answers stay past their time", why=str(error))


def _values(row: PredictionRow, store_text: bool) -> tuple[str | int | float | None, ...]:
    text = row.text if store_text else None
    return (
        row.prediction_id, row.model, text, None if text is None else _text_key(text),
        row.label, row.probability, row.version, row.revision, row.time, row.precision,
    )  # fmt: skip


def _text_key(text: str) -> int:
    """64 bits of the text's SHA-256, to find a text without keeping a second copy of it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)


def _open(path: Path) -> Database:
    try:
        return Database(path, _SCHEMA, synchronous="NORMAL")
    except StoreDamaged as error:
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.error("the prediction log is damaged; a new one is begun",
                  why=str(error), set_aside=aside.name)  # fmt: skip
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Database(path, _SCHEMA, synchronous="NORMAL")
