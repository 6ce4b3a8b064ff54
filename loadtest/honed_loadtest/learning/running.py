"""Runs jobs side by side, each in one of a few processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from honed_loadtest.learning.catalogue import Plan
from honed_loadtest.learning.jobs import Job, following
from honed_loadtest.learning.store import FAILED, Store
from honed_loadtest.learning.work import work

_GIST = (("stream", "before"), ("final", "end"), ("instant", "instant"), ("periodic", "tuned"))


class Runner:
    """One invocation.

    Args:
        plan: How much is measured.
        store: What was found before, and will be.
        kept: Folder of vectors.
        told: Called after each job.
    """

    def __init__(self, plan: Plan, store: Store, kept: Path, told: Callable[[], None]) -> None:
        self._plan, self._store, self._kept, self._told = plan, store, kept, told
        self._started = time.monotonic()

    def run(self, jobs: Sequence[Job], count: int) -> None:
        """Does those that were not done before, so many at a time."""
        waiting = [job for job in jobs if self._store.found(job) is None]
        if len(waiting) < len(jobs):
            self._say(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs were done before")
        workers = [Worker(self._plan, self._kept) for _ in range(min(count, len(waiting)))]
        done, total = 0, len(waiting)
        try:
            while waiting or any(worker.job for worker in workers):
                for worker in workers:
                    if waiting and worker.job is None:
                        running = [one.job for one in workers if one.job]
                        job = following(waiting, running)
                        waiting.remove(job)
                        worker.begin(job)
                for worker in _ready(workers):
                    job, found = worker.end()
                    self._store.keep(job, found)
                    done += 1
                    self._say(f"{done} of {total}: {job.title}, seed {job.seed}: {_gist(found)}")
                    self._told()
        finally:
            for worker in workers:
                worker.close()

    def _say(self, what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        sys.stderr.write(f"{minutes:3}:{seconds:02} {what}\n")
        sys.stderr.flush()


class Worker:
    """A process that does one job after the other, and is replaced when it dies of one.

    Args:
        plan: How much is measured.
        kept: Folder of vectors.

    Attributes:
        job: What it does; None while it is idle.
        line: Can be read when the job is done or its process has died.
    """

    def __init__(self, plan: Plan, kept: Path) -> None:
        self._plan, self._kept = plan, kept
        self.job: Job | None = None
        self.line = self._start()

    def begin(self, job: Job) -> None:
        """Begins a job."""
        self.job = job
        self.line.send(job)

    def end(self) -> tuple[Job, dict[str, Any]]:
        """Waits for the job; returns it, and what it found or why it failed."""
        job, self.job = self.job, None
        assert job is not None, "it was begun"
        try:
            found: dict[str, Any] = self.line.recv()
        except (EOFError, ConnectionResetError):  # the latter if it never read the job
            found = {FAILED: "its process died"}
            self.line = self._start()
        return job, found

    def close(self) -> None:
        """Ends the process, with the job if there is one."""
        self.line.close()
        if self.job is not None:
            self._process.terminate()
        self._process.join()

    def _start(self) -> Connection:
        # Not forked: this process may have threads, of an encoder.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._plan, self._kept))
        self._process.start()
        theirs.close()
        return ours


def _ready(workers: Sequence[Worker]) -> list[Worker]:
    """Those that are done with their jobs, once one is."""
    busy = [worker for worker in workers if worker.job is not None]
    lines = wait([worker.line for worker in busy])
    return [worker for worker in busy if worker.line in lines]


def _gist(found: dict[str, Any]) -> str:
    if FAILED in found:
        return f"failed: {found[FAILED]}"
    said = (f"{name} {found[key]:.4f}, " for key, name in _GIST if found.get(key) is not None)
    return f"{''.join(said)}{found['cpu_s']:.0f} s of CPU"
