"""The jobs of one command, and the document of what they found, written anew after each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from honed_loadtest import report
from honed_loadtest.learning.catalogue import Plan
from honed_loadtest.learning.jobs import Job
from honed_loadtest.learning.plot import svg
from honed_loadtest.learning.preparing import VECTORS
from honed_loadtest.learning.results import Missing, results
from honed_loadtest.learning.running import Runner
from honed_loadtest.learning.store import Store

_PACKAGES = {"sklearn": "scikit-learn", "river": "river", "torch": "torch"}


class Measurement:
    """One invocation.

    Args:
        plan: How much.
        jobs: What can be measured here, in the order in which it should be.
        missing: What cannot, and why.
        build: Folder of what later runs read: vectors and the findings of each job.
        folder: Of the document.
        command: What makes it again.
    """

    def __init__(
        self,
        plan: Plan,
        jobs: Sequence[Job],
        missing: Sequence[Missing],
        build: Path,
        folder: Path,
        command: str,
    ) -> None:
        self._plan, self._jobs, self._missing = plan, jobs, missing
        self._build, self._folder, self._command = build, folder, command
        self._machine, self._commit, self._workers = report.machine(), report.commit(), 0
        # What was found does not depend on how many other jobs there are.
        alone = replace(plan, seeds=0, environments=True, product=True, rounds=True)
        files = (Path(data) for data in sorted({job.data for job in jobs}))
        changed = [path.stat().st_mtime_ns for path in files if path.is_file()]
        places = [os.environ.get(name) for name in ("HONED_ENCODER", "HONED_DATA")]
        basis = (asdict(alone), *places, *changed)
        self._store = Store(build / "learning", self._commit, basis)

    @property
    def path(self) -> Path:
        """Of the document."""
        return self._folder / "learning.json"

    @property
    def failed(self) -> bool:
        """Whether a job failed."""
        return any(self._store.failure(job) for job in self._jobs)

    def run(self, workers: int) -> None:
        """Does all jobs that are not done, so many at a time; the product's first and alone."""
        self._workers = workers
        runner = Runner(self._plan, self._store, self._build / VECTORS, self._write)
        runner.run([job for job in self._jobs if job.kind == "product"], 1)
        runner.run([job for job in self._jobs if job.kind != "product"], workers)
        self._write()

    def document(self) -> report.Document:
        """What was found so far."""
        found = {job: one for job in self._jobs if (one := self._store.found(job)) is not None}
        late = {
            job: self._store.failure(job) or "not done" for job in self._jobs if job not in found
        }
        installed = {name: version(name) for key, name in _PACKAGES.items() if find_spec(key)}
        return report.Document(
            figure="learning",
            command=self._command,
            commit=self._commit,
            date=report.now(),
            versions=report.versions() | installed,
            machine=self._machine,
            settings=asdict(self._plan) | {"jobs": self._workers},
            results=results(self._jobs, found, late, self._missing),
        )

    def _write(self) -> None:
        document = self.document()
        document.write(self._folder)
        self.path.with_suffix(".svg").write_text(svg(document.results))
