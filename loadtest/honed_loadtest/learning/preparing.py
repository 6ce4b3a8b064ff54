"""Makes, before the clock runs, what jobs need: environments of their own, and vectors of texts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from honed_loadtest.errors import BenchError
from honed_loadtest.learning import material, rivals
from honed_loadtest.learning.applicable import unfit
from honed_loadtest.learning.catalogue import ENTRIES, Plan, missing
from honed_loadtest.learning.jobs import Job, name_of
from honed_loadtest.learning.results import Missing
from honed_loadtest.learning.streams import texts_of
from honed_loadtest.learning.vectors import encoded

VECTORS = "vectors"


def prepared(jobs: Sequence[Job], plan: Plan, build: Path) -> tuple[list[Job], list[Missing]]:
    """Makes it, where it is not there yet.

    Args:
        jobs: What shall be measured.
        plan: How much.
        build: Folder in which vectors are kept.

    Returns:
        Those jobs that can be done here, and what cannot be measured, rows of files included.

    Raises:
        BenchError: There is no encoder on this machine, no data, or no job that can be done.
    """
    read = cache(lambda data: material.of(data, plan.limit))
    why = cache(lambda name: _missing(name, plan))
    left_out: dict[Missing, None] = {}
    possible = []
    for job in jobs:
        fault = unfit(job, read(job.data), plan) if job.data else None
        if fault is None and job.kind == "stream" and (reason := why(job.contestant)):
            fault = ("all", job.contestant, reason)
        if fault is None:
            possible.append(job)
        else:
            left_out[fault] = None
    if not possible:
        reasons = dict.fromkeys(why for _, _, why in left_out)
        raise BenchError(f"nothing can be measured: {'; '.join(reasons)}")
    sources = dict.fromkeys(job.data for job in jobs if job.data)
    rows = [(name_of(data), "", why) for data in sources for why in read(data).skipped]
    with tempfile.TemporaryDirectory(prefix="honed-learning-") as scratch:
        for data in dict.fromkeys(job.data for job in possible if job.kind == "stream"):
            encoded(texts_of(read(data)), Path(scratch), build / VECTORS)
    return possible, [*rows, *left_out]


def _missing(name: str, plan: Plan) -> str | None:
    """Why a contestant cannot be entered; its environment is made if it needs one."""
    entry = next(one for one in ENTRIES if one.name == name)
    if entry.environment is None:
        return missing(entry)
    if not plan.environments:
        return "environments are left out of this run"
    try:
        rivals.prepare(entry.environment)
    except BenchError as error:
        return str(error)
    return None
