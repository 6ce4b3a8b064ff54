"""The vectors of labels and anchors in adapt.sqlite: a cache, so that a text is encoded once.

It stands beside the instant lane: `loop.py` fills it and rebuilds lanes from it. Losing it costs
time, not knowledge: a damaged file is replaced, and a full disk only means encoding again. What it
does owe is forgetting: after `delete` no byte of a vector is left, since text can be guessed from
vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType

import apsw
import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.storage.errors import StoreDamaged, StoreError, StoreFull, store_error
from honed_adapt.storage.files import open_reader, open_writer, read_once

log = structlog.get_logger(__name__)

Vector = NDArray[np.float32]

_SCHEMA = (
    """
    CREATE TABLE vectors (
        model TEXT NOT NULL, encoder TEXT NOT NULL, position INTEGER NOT NULL, vector BLOB NOT NULL,
        PRIMARY KEY (model, encoder, position)
    ) STRICT;
    CREATE TABLE anchors (
        model TEXT NOT NULL, encoder TEXT NOT NULL, text_hash BLOB NOT NULL, vector BLOB NOT NULL,
        PRIMARY KEY (model, encoder, text_hash)
    ) STRICT;
    CREATE TABLE accepted (model TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
    """,
    """
    CREATE TABLE misses (
        model TEXT NOT NULL, position INTEGER NOT NULL, missed INTEGER NOT NULL,
        PRIMARY KEY (model, position)
    ) STRICT;
    """,
    """
    CREATE TABLE votes (
        model TEXT NOT NULL, encoder TEXT NOT NULL, position INTEGER NOT NULL, vote TEXT NOT NULL,
        PRIMARY KEY (model, encoder, position)
    ) STRICT;
    """,
)


class VectorStore:
    """The cache of one adapt process; belongs to one thread.

    Args:
        path: adapt.sqlite; made when missing, replaced when damaged.

    Raises:
        StoreError: Unsupported, full or failed. All methods may raise one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = open_writer(path, _SCHEMA, "NORMAL")
        except StoreDamaged as error:
            log.warning("the cache of vectors is made anew", why=str(error))
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._connection = open_writer(path, _SCHEMA, "NORMAL")

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def put(self, model: str, digest: str, vectors: Mapping[int, Vector]) -> None:
        """Keep vectors by log position; each is float32 (hidden,). A full disk keeps nothing."""
        rows = [(model, digest, at, _bytes(vector)) for at, vector in vectors.items()]
        self._keep("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)

    def load(self, model: str, digest: str, positions: Iterable[int]) -> dict[int, Vector]:
        """Return the vectors that are there, of these log positions."""
        with self._errors():
            return _load(self._connection, model, digest, positions)

    def put_anchors(self, model: str, digest: str, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors of anchor texts by the hash of the text. A full disk keeps nothing."""
        rows = [(model, digest, key, _bytes(vector)) for key, vector in vectors.items()]
        self._keep("INSERT OR REPLACE INTO anchors VALUES (?, ?, ?, ?)", rows)

    def load_anchors(self, model: str, digest: str) -> dict[bytes, Vector]:
        """Return all anchor vectors of a model, by the hash of the text."""
        sql = "SELECT text_hash, vector FROM anchors WHERE model = ? AND encoder = ?"
        with self._errors():
            found = self._connection.execute(sql, (model, digest))
            return {key: _vector(blob) for key, blob in found}

    def put_misses(self, model: str, misses: Mapping[int, bool]) -> None:
        """Keep by log position whether sets lacked the labels of audits, see `promises.py`."""
        rows = [(model, at, int(missed)) for at, missed in misses.items()]
        self._keep("INSERT OR REPLACE INTO misses VALUES (?, ?, ?)", rows)

    def misses(self, model: str) -> dict[int, bool]:
        """Return what `put_misses` kept of a model."""
        with self._errors():
            sql = "SELECT position, missed FROM misses WHERE model = ?"
            return {at: bool(missed) for at, missed in self._connection.execute(sql, (model,))}

    def put_votes(self, model: str, digest: str, votes: Mapping[int, Sequence[float]]) -> None:
        """Keep by log position what audits voted, see `recipe.py`. A full disk keeps nothing."""
        rows = [(model, digest, at, json.dumps(vote)) for at, vote in votes.items()]
        self._keep("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?)", rows)

    def votes(self, model: str, digest: str) -> dict[int, tuple[float, ...]]:
        """Return what `put_votes` kept of a model."""
        with self._errors():
            sql = "SELECT position, vote FROM votes WHERE model = ? AND encoder = ?"
            found = self._connection.execute(sql, (model, digest))
            return {at: tuple(json.loads(vote)) for at, vote in found}

    def accept(self, model: str, revision: int) -> None:
        """Note that the server accepted a revision: the guard has passed all rows up to it."""
        sql = (
            "INSERT INTO accepted VALUES (?, ?)"
            " ON CONFLICT (model) DO UPDATE SET revision = max(revision, excluded.revision)"
        )
        self._keep(sql, [(model, revision)])

    def accepted(self, model: str) -> int:
        """Return the newest revision noted, 0 for none."""
        with self._errors():
            sql = "SELECT revision FROM accepted WHERE model = ?"
            return int(self._connection.execute(sql, (model,)).get or 0)

    def delete(self, model: str, positions: Iterable[int]) -> None:
        """Erase vectors of log positions, under every encoder; durable, and gone from the files."""
        where = "WHERE model = ? AND position IN (SELECT value FROM json_each(?))"
        bindings = (model, json.dumps(list(positions)))
        tables = ("vectors", "misses", "votes")
        self._erase([(f"DELETE FROM {table} {where}", bindings) for table in tables])

    def keep_anchors(self, model: str, hashes: Iterable[bytes]) -> None:
        """Erase the anchor vectors of a model that are not of these texts; durable, as `delete`."""
        kept = json.dumps([key.hex() for key in hashes])
        sql = (
            "DELETE FROM anchors WHERE model = ?"
            " AND lower(hex(text_hash)) NOT IN (SELECT value FROM json_each(?))"
        )
        self._erase([(sql, (model, kept))])

    def keep_encoders(self, digests: Sequence[str]) -> None:
        """Erase what belongs to other encoders, which the server has removed; durable, as `delete`.

        Where no encoder is left something else is wrong, and all is kept; so it is on a full disk.
        """
        where = "WHERE encoder NOT IN (SELECT value FROM json_each(?))"
        tables = ("vectors", "anchors", "votes")
        bindings = (json.dumps(list(digests)),)
        try:
            if digests:
                self._erase([(f"DELETE FROM {table} {where}", bindings) for table in tables])
        except StoreFull as error:
            log.warning("vectors of removed encoders are kept", why=str(error))

    def models(self) -> set[str]:
        """Return the models that anything is kept of."""
        tables = ("vectors", "anchors", "accepted", "misses", "votes")
        sql = " UNION ".join(f"SELECT model FROM {table}" for table in tables)
        with self._errors():
            return {row[0] for row in self._connection.execute(sql)}

    def forget_model(self, model: str) -> None:
        """Erase all of a model; durable, as `delete`."""
        tables = ("vectors", "anchors", "accepted", "misses", "votes")
        self._erase([(f"DELETE FROM {table} WHERE model = ?", (model,)) for table in tables])

    def _keep(self, sql: str, rows: Sequence[tuple[str | int | bytes, ...]]) -> None:
        try:
            with self._errors(), self._connection:
                self._connection.executemany(sql, rows)
        except StoreFull as error:
            log.warning("nothing was cached", why=str(error))

    def _erase(self, statements: list[tuple[str, tuple[str, ...]]]) -> None:
        with self._errors():
            # A cache may lose its last commits, but an erasure must not come back.
            self._connection.pragma("synchronous", "FULL")
            try:
                with self._connection:
                    for sql, bindings in statements:
                        self._connection.execute(sql, bindings)
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            finally:
                self._connection.pragma("synchronous", "NORMAL")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what an SQLite error means for the store."""
        try:
            yield
        except apsw.Error as error:
            raise store_error(error, self._path) or error from error


def read_vectors(
    path: Path, model: str, digest: str, positions: Iterable[int]
) -> dict[int, Vector]:
    """Return as `VectorStore.load`, beside the process that owns the file; nothing if it fails."""
    try:
        with closing(open_reader(path)) as connection:
            return read_once(connection, lambda db: _load(db, model, digest, positions), path)
    except StoreError as error:
        log.warning("vectors are computed anew", why=str(error))
        return {}


def _load(
    connection: apsw.Connection, model: str, digest: str, positions: Iterable[int]
) -> dict[int, Vector]:
    sql = (
        "SELECT position, vector FROM vectors WHERE model = ? AND encoder = ?"
        " AND position IN (SELECT value FROM json_each(?))"
    )
    found = connection.execute(sql, (model, digest, json.dumps(list(positions))))
    return {position: _vector(blob) for position, blob in found}


def _bytes(vector: Vector) -> bytes:
    return np.asarray(vector, "<f4").tobytes()


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
