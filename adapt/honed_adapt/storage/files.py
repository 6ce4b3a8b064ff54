"""Opening SQLite files soundly: checks, settings and schema, for the writer and for readers.

Where it stands in the journey: under `sqlite.py`, which adds the writer thread.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from honed_adapt.storage.errors import (
    StoreError,
    StoreUnsupported,
    check_library,
    damaged,
    store_error,
)

T = TypeVar("T")

_BUSY_TIMEOUT_MS = 5_000
_WAL_BYTES = 16 * 2**20


def open_reader(path: Path) -> apsw.Connection:
    """Open a read-only connection, for this process or beside one that writes.

    Raises:
        StoreDamaged: If the file is missing or not a database.
    """
    check_library(apsw.sqlite_lib_version())
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("user_version")
    except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError) as error:
        raise damaged(path, str(error)) from error
    return connection


def read_once(connection: apsw.Connection, fn: Callable[[apsw.Connection], T], path: Path) -> T:
    """Run `fn` in one read transaction, so that all it reads is of one moment.

    Raises:
        StoreError: Damaged, failed or busy, see the subclasses.
    """
    try:
        connection.execute("BEGIN")
        try:
            return fn(connection)
        finally:
            connection.execute("ROLLBACK")
    except apsw.Error as error:
        raise store_error(error, path) or error from error


def open_writer(path: Path, schema: Sequence[str], synchronous: str) -> apsw.Connection:
    """Open or make the file, check it, and bring its schema up to date.

    Raises:
        StoreError: Damaged, unsupported, full or failed, see the subclasses.
    """
    check_library(apsw.sqlite_lib_version())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = apsw.Connection(str(path))
    except apsw.CantOpenError as error:
        raise damaged(path, str(error)) from error
    try:
        _prepare(connection, path, schema, synchronous)
    except apsw.Error as error:
        connection.close()
        raise store_error(error, path) or error from error
    except StoreError:
        connection.close()
        raise
    return connection


def _prepare(
    connection: apsw.Connection, path: Path, schema: Sequence[str], synchronous: str
) -> None:
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise damaged(path, str(found))
    for name, value in (
        ("journal_mode", "WAL"),
        ("synchronous", synchronous),
        ("secure_delete", "ON"),
        ("journal_size_limit", _WAL_BYTES),
        ("foreign_keys", "ON"),
        ("temp_store", "MEMORY"),
    ):
        connection.pragma(name, value)
    version = connection.pragma("user_version")
    if version > len(schema):
        raise StoreUnsupported(
            f"{path} has schema version {version}, this Honed knows {len(schema)}: upgrade Honed"
        )
    with connection:
        for script in schema[version:]:
            connection.execute(script)
        connection.pragma("user_version", len(schema))
