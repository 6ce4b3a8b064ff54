"""One file of the spool: append-only lines with checksums, held by one client at a time.

The holder keeps an advisory lock on the file. The kernel lets go of it when the process ends,
however it ends; whoever finds the file unlocked has found a leftover.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4
from zlib import crc32

Record = dict[str, Any]

_PATTERN = "feedback-*.jsonl"


class Segment:
    """A file of the spool, locked as long as it is open.

    Attributes:
        size: Length in bytes.
        done: How many of its records need not be sent any more.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.done = 0

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new, empty one, whose name survives a power loss and sorts after all older ones."""
        path = folder / f"feedback-{time.time_ns():020}-{uuid4().hex}.jsonl"
        with _folder_lock(folder):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sync_folder(folder)
        return cls(path, descriptor)

    @classmethod
    def leftovers(cls, folder: Path) -> list[Self]:
        """Those that nobody holds, oldest first; now the caller does."""
        with _folder_lock(folder):
            held = [(path, _hold(path)) for path in sorted(folder.glob(_PATTERN))]
        return [cls(path, descriptor) for path, descriptor in held if descriptor is not None]

    def append(self, records: Iterable[Record]) -> None:
        """Writes records durably.

        Raises:
            OSError: They may be there in part; append no more to this file.
        """
        lines = b"".join(map(_line, records))
        append_durably(self._descriptor, lines)
        self.size += len(lines)

    def records(self) -> Iterator[Record]:
        """All that are left to do; a torn last line was never promised, and is no record."""
        whole = self._path.read_bytes().split(b"\n")[:-1]
        yield from map(_record, whole[self.done :])

    def remove(self) -> None:
        """Deletes the file and lets go of it."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets go of the file: the next client with this spool will find it."""
        os.close(self._descriptor)


def append_durably(descriptor: int, data: bytes) -> None:
    """Writes all of it, and returns when it would survive a power loss."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _line(record: Record) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _record(line: bytes) -> Record:
    """What the line says, or the damaged line itself."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % crc32(text):
        return {"damaged": line.decode("latin-1")}
    record: Record = json.loads(text)
    return record


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Nobody looks for leftovers while somebody has made a file and not locked it yet."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hold(path: Path) -> int | None:
    """The locked file, or None if another client holds it, or has just removed it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not os.fstat(descriptor).st_nlink:  # it was removed between the two steps
        os.close(descriptor)
        return None
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
