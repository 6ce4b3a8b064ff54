"""The results: one JSON document, written anew after every case, so that a cut-off run has some.

`schema.json` beside this file describes it, of a dry run too.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from honed_kernels.gpu.kernels import sources_hash

FORMAT = 1
Status = Literal["done", "failed", "skipped"]
_PACKAGES = ("torch", "triton", "numpy", "liger-kernel", "cut-cross-entropy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case.

    Attributes:
        values: figures by name.
        status: failed and skipped say why.
        why: in a sentence; empty if it is done.
    """

    values: dict[str, Any] = field(default_factory=dict)
    status: Status = "done"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Aim:
    """What was hoped for, and what came of it.

    Attributes:
        name: such as "grouped_head_over_loop".
        says: the aim in words.
        wanted: the value is at least this.
        value: None if it was not measured.
        reached: None if it was not measured, or by a dry run.
    """

    name: str
    says: str
    wanted: float
    value: float | None
    reached: bool | None


class Report:
    """Collects the results and keeps the file up to date.

    Args:
        path: where they go; its folder exists.
        dry_run: whether times mean nothing.
        command: how they were made.
        seconds: of the budget.
        device: what is known of it.
    """

    def __init__(
        self, path: Path, *, dry_run: bool, command: str, seconds: float, device: dict[str, Any]
    ) -> None:
        self._path = path
        self.document: dict[str, Any] = {
            "format": FORMAT,
            "dry_run": dry_run,
            "command": command,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "kernels_sha256": sources_hash(),
            "versions": {"python": platform.python_version(), **_versions()},
            "device": device,
            "budget_s": seconds,
            "elapsed_s": 0.0,
            "complete": False,
            "parts": [],
            "launches": {},
            "aims": [],
            "problems": [],
        }
        self.write()

    def begin(self, part: str) -> None:
        """A part whose cases follow."""
        self.document["parts"].append({"name": part, "status": "cut off", "why": "", "cases": []})
        self.write()

    def add(self, case: str, outcome: Outcome, elapsed_s: float) -> None:
        """A case of the part that was begun last."""
        self.document["parts"][-1]["cases"].append({"name": case, **asdict(outcome)})
        self.document["elapsed_s"] = round(elapsed_s, 1)
        if outcome.status == "failed":
            part = self.document["parts"][-1]["name"]
            self.problem(f"{part}: {case}: {outcome.why}")
        self.write()

    def end(self, status: Literal["done", "cut off", "skipped"], why: str = "") -> None:
        """The part that was begun last is over."""
        self.document["parts"][-1].update(status=status, why=why)
        self.write()

    def problem(self, text: str) -> None:
        """What makes the run a failure."""
        self.document["problems"].append(text)

    def close(self, launches: dict[str, int], aims: list[Aim]) -> None:
        """Nothing follows."""
        aims_ = [asdict(aim) for aim in aims]
        self.document.update(launches=launches, aims=aims_, complete=True)
        self.write()

    def write(self) -> None:
        """Write the file whole, or leave it as it was."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.document, indent=1, allow_nan=False) + "\n")
        os.replace(partial, self._path)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
