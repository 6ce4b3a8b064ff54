"""Does one job: a contestant on a stream, what rounds add, or the product as a whole."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from honed_loadtest.errors import BenchError
from honed_loadtest.learning import material, rounds
from honed_loadtest.learning.catalogue import ENTRIES, Plan
from honed_loadtest.learning.honed_lane import HonedLane
from honed_loadtest.learning.jobs import Job
from honed_loadtest.learning.measures import measures
from honed_loadtest.learning.product import product
from honed_loadtest.learning.progressive import Progress
from honed_loadtest.learning.store import FAILED
from honed_loadtest.learning.streams import FIRST_LABELS, Material, stream, texts_of
from honed_loadtest.learning.vectors import encoded

_SLOW_LOOKS, _LOOKS = 5, 40
_LONGEST = 300  # characters of why a job failed


def do(job: Job, plan: Plan, kept: Path) -> dict[str, Any]:
    """Does a job here; returns its numbers and the CPU seconds of this process and its children.

    Args:
        job: What to measure.
        plan: How much.
        kept: Folder of vectors that later runs read.

    Raises:
        BenchError: It cannot be measured.
    """
    before = _cpu_s()
    with tempfile.TemporaryDirectory(prefix="honed-learning-") as scratch:
        if job.kind == "product":
            found = product(Path(scratch))
        else:
            data = _data(job.data, plan.limit)
            if job.kind == "rounds":
                found = rounds.measured(data, job.form)
            else:
                found = _learned(job, plan, data, Path(scratch), kept)
    return {**found, "cpu_s": round(_cpu_s() - before, 1)}


def work(line: Connection, plan: Plan, kept: Path) -> None:
    """Does the jobs that come by a line, and answers what each found, or why it failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped, too
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        try:
            line.send(do(job, plan, kept))
        except BenchError as error:
            line.send({FAILED: str(error)})
        except Exception as error:  # noqa: BLE001 it costs its own row, whoever's code it is
            line.send({FAILED: _sentence(error)})


def _learned(job: Job, plan: Plan, data: Material, scratch: Path, kept: Path) -> dict[str, Any]:
    entry = next(one for one in ENTRIES if one.name == job.contestant)
    one, short = stream(data, job.form, job.seed, plan.first), job.form == FIRST_LABELS
    progress = Progress(
        one,
        encoded(texts_of(data), scratch, kept),
        every=entry.every,
        delay=plan.delay,
        looks=_SLOW_LOOKS if short else _LOOKS,
        test_rows=plan.test_rows if short else None,
    )
    contestant = entry.make(sorted({said.label for said in one.said}))
    try:
        found = measures(one, progress.run(contestant))
        if isinstance(contestant, HonedLane):
            found |= {"suspects": contestant.suspects, "recipe": contestant.recipe()}
            if not job.seed:  # it forgets, rebuilds and so takes long
                found["deletion_error"] = contestant.deletion_error()
    finally:
        contestant.close()
    return found


def _sentence(error: Exception) -> str:
    """Type and message, as one line of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]


@lru_cache(1)
def _data(data: str, limit: int | None) -> Material:
    return material.of(data, limit)


def _cpu_s() -> float:
    return sum(os.times()[:4])
