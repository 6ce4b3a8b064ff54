"""One SQLite file, one writer thread, group commit: the floor under every store of Honed.

Where it stands in the journey: `feedback/log.py`, the server's `registry.py` and `predictions.py`
hand functions to `Database.write`; the future resolves only when the transaction is on disk.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw

from honed_adapt.storage.errors import (
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreUnsupported,
    store_error,
)
from honed_adapt.storage.files import open_reader, open_writer, read_once

__all__ = [
    "Database",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreUnsupported",
    "open_reader",
    "read_once",
]

T = TypeVar("T")

_GROUP_JOBS = 256
_CHECKPOINT_PAGES = 1_000
# Beyond this (32 MiB) a slow reader starves the passive checkpoint: the writer waits for readers.
_TRUNCATE_PAGES = 8_000


@dataclass(frozen=True, slots=True)
class _Write:
    run: Callable[[apsw.Connection], Any]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class _Erase:
    future: Future[None]


_Job = _Write | _Erase | None


class Database:
    """A database file with one writer thread; any thread may call its methods.

    Args:
        path: The file; it and its folder are made when missing.
        schema: SQL scripts; script i brings a file from schema version i to i + 1.
        synchronous: "FULL" survives power loss; "NORMAL" may then lose the last commits.

    Raises:
        StoreDamaged: If the file is not a sound database.
        StoreUnsupported: If the library is unsafe or the file is of a newer schema.
        StoreFull: If there is no room to make or upgrade the file.
        StoreFailed: If the disk failed.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._reading = threading.Lock()
        self._closed = False
        self._failure: StoreFailed | None = None
        self._wal_pages = 0
        self._writer = open_writer(path, schema, synchronous)
        self._writer.set_wal_hook(self._note_wal_pages)
        self._reader = open_reader(path)
        self._thread = threading.Thread(target=self._run, name=f"store {path.name}", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> StoreFailed | None:
        """Why the store stopped acknowledging for good, or None while it works."""
        return self._failure

    def write(self, fn: Callable[[apsw.Connection], T]) -> Future[T]:
        """Run `fn` in the writer thread, alone in a savepoint of the group's transaction.

        Returns:
            A future of what `fn` returned, resolved only after COMMIT. It raises what `fn` raised
            (then nothing that `fn` did is recorded, and others of the group are unharmed) or a
            `StoreError`. Cancelling it before its turn records nothing.
        """
        future: Future[T] = Future()
        self._submit(_Write(fn, future), future)
        return future

    def read(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run `fn` at once on a read-only connection in one short transaction.

        Raises:
            StoreError: Damaged, failed or busy, see the subclasses.
        """
        with self._reading:
            return read_once(self._reader, fn, self.path)

    def erase(self) -> Future[None]:
        """Copy the write-ahead log into the file and empty it, after the writes queued so far.

        With `secure_delete`, no byte of what those writes deleted is left in the files after it.

        Returns:
            A future that raises `StoreBusy` if a reader kept the log in use.
        """
        future: Future[None] = Future()
        self._submit(_Erase(future), future)
        return future

    def close(self) -> None:
        """Finish the queued writes and close the file. Closing twice is harmless."""
        with self._reading:
            # First, so that the writer is the last to leave and tidies the write-ahead log away.
            self._reader.close()
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _submit(self, job: _Write | _Erase, future: Future[Any]) -> None:
        with self._closing:
            if self._closed:
                future.set_exception(StoreFailed(f"{self.path} is closed"))
            else:
                self._queue.put(job)

    def _run(self) -> None:
        while True:
            *jobs, last = self._take()
            writes = [job for job in (*jobs, last) if isinstance(job, _Write)]
            if writes:
                self._commit(writes)
            if isinstance(last, _Erase):
                self._truncate(last.future)
            if last is None:
                self._writer.close()
                return
            self._checkpoint()

    def _take(self) -> list[_Job]:
        """All that waits, at most a group; anything but a write ends it."""
        group = [self._queue.get()]
        while len(group) < _GROUP_JOBS and isinstance(group[-1], _Write):
            try:
                group.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return group

    def _commit(self, writes: list[_Write]) -> None:
        wanted = [job for job in writes if job.future.set_running_or_notify_cancel()]
        error: StoreError | None = self._failure
        results: list[tuple[Any, Exception | None]] = []
        if error is None:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                results = [self._attempt(job.run) for job in wanted]
                self._writer.execute("COMMIT")
            except apsw.Error as cause:
                error = self._abort(cause)
        if error is not None:
            results = [(None, error)] * len(wanted)
        for job, (result, problem) in zip(wanted, results, strict=True):
            if problem is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(problem)

    def _attempt(self, run: Callable[[apsw.Connection], Any]) -> tuple[Any, Exception | None]:
        self._writer.execute("SAVEPOINT job")
        try:
            result, problem = run(self._writer), None
        except Exception as error:  # the thread's top: the caller's future gets it
            if isinstance(error, apsw.Error) and store_error(error, self.path):
                raise
            result, problem = None, error
            self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")
        return result, problem

    def _abort(self, cause: apsw.Error) -> StoreError:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except apsw.Error as worse:
            return self._fail(worse)
        error = store_error(cause, self.path)
        return error if isinstance(error, StoreFull | StoreBusy) else self._fail(cause)

    def _fail(self, cause: apsw.Error) -> StoreFailed:
        """Stop for good: after a failed fsync the kernel drops what it could not write.

        A second fsync would succeed and lie, so the write-ahead log must not be folded into the
        file at closing either: the next start does that from the bytes on the disk.
        """
        self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._failure = StoreFailed(f"{self.path} stopped recording: {cause}")
        return self._failure

    def _truncate(self, future: Future[None]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        error: StoreError | None = self._failure
        if error is None:
            try:
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._wal_pages = 0
            except apsw.Error as cause:
                error = self._abort(cause)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _checkpoint(self) -> None:
        """Bound the log. SQLite's own automatic checkpoint would hide a failed fsync from us."""
        if self._wal_pages < _CHECKPOINT_PAGES or self._failure:
            return
        starved = self._wal_pages >= _TRUNCATE_PAGES
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if starved else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            self._writer.wal_checkpoint(mode=mode)
        except apsw.Error as cause:
            self._abort(cause)

    def _note_wal_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK
