"""What can go wrong with a store, in words that say what the reader should do.

Where it stands in the journey: `sqlite.py` raises these; the server maps each to one gRPC status.
"""

import re
from pathlib import Path

import apsw

_FIRST_WAL_LIBRARY = (3, 7, 0)
_FIRST_SAFE_LIBRARY = (3, 51, 3)


class StoreError(Exception):
    """A store could not do what was asked; the subclass says why."""


class StoreFull(StoreError):
    """The disk is full: nothing of this write was recorded. Works again when there is room."""


class StoreFailed(StoreError):
    """The disk failed or the store is closed: it acknowledges no more. Restart the server."""


class StoreBusy(StoreError):
    """Another process held the file for too long: nothing was recorded. Try again."""


class StoreDamaged(StoreError):
    """The file is not a sound database. Restore a backup or move it away."""


class StoreUnsupported(StoreError):
    """The SQLite library is unsafe, or the file was written by a newer Honed. Upgrade."""


def check_library(version: str) -> None:
    """Refuse an SQLite library that can corrupt a WAL file that is being reset.

    Args:
        version: Version of the library, such as "3.51.3".

    Raises:
        StoreUnsupported: If it lies in 3.7.0-3.51.2 (https://sqlite.org/wal.html, "WAL-reset bug").
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if _FIRST_WAL_LIBRARY <= numbers < _FIRST_SAFE_LIBRARY:
        raise StoreUnsupported(
            f"SQLite {version} can corrupt its write-ahead log; Honed needs 3.51.3 or newer (apsw)"
        )


def store_error(error: apsw.Error, path: Path) -> StoreError | None:
    """What an SQLite error means for the whole store; None if it is the statement's own fault."""
    # Growing the WAL's index is the one place where SQLite calls a full disk an I/O error.
    no_room = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    if isinstance(error, apsw.FullError) or no_room:
        return StoreFull(f"no room on the disk of {path}: nothing was recorded")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return damaged(path, str(error))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusy(f"{path} is in use by another process: {error}")
    if isinstance(error, apsw.IOError | apsw.ReadOnlyError | apsw.CantOpenError | apsw.NoMemError):
        return StoreFailed(f"{path}: {error}")
    return None


def damaged(path: Path, detail: str) -> StoreDamaged:
    """The error that names the damaged file and says what to do."""
    return StoreDamaged(f"{path} is damaged: {detail}; restore a backup or move it away")
