"""What jobs found, a file each, so that a later run of the same commit goes on with the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from honed_loadtest.learning.jobs import Job

FAILED = "failed"
"""In place of findings, with the reason."""


class Store:
    """Findings of one commit.

    Args:
        folder: Of all commits.
        commit: What is measured; a tree that differs from its commit is measured anew each time.
        basis: All that findings depend on beside job and commit.
    """

    def __init__(self, folder: Path, commit: str, basis: Sequence[object]) -> None:
        self._folder, self._basis = folder / commit, basis
        if commit == "unknown" or commit.endswith("-dirty"):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)

    def keep(self, job: Job, found: Mapping[str, Any]) -> None:
        """Writes what a job found, or {FAILED: why}."""
        path = self._path(job)
        aside = path.with_suffix(".aside")
        aside.write_text(json.dumps(found) + "\n")
        aside.rename(path)

    def found(self, job: Job) -> dict[str, Any] | None:
        """What a job found; None if it is not done."""
        found = self._read(job)
        return None if FAILED in found else found or None

    def failure(self, job: Job) -> str | None:
        """Why a job failed; None if it did not, or was not tried."""
        return self._read(job).get(FAILED)

    def _path(self, job: Job) -> Path:
        return self._folder / job.file(self._basis)

    def _read(self, job: Job) -> dict[str, Any]:
        path = self._path(job)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found
