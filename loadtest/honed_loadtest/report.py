"""Keeps what was measured: one JSON file a figure, tables for people, and the page made of them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from platform import python_version
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
_PIPE_WIDTH = 200
_PACKAGES = ("honed", "numpy", "onnxruntime", "grpcio")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of short texts under headings."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Document:
    """One figure as it is written down.

    Attributes:
        figure: Its name.
        command: What makes it again.
        commit: Git commit that was measured; "-dirty" after it if files differed.
        date: When it was finished, UTC.
        versions: Python and the packages that matter.
        machine: Processor, cores, memory, and the load average before.
        settings: How much was measured.
        results: What was found.
        faults: Why it does not show the server; empty if it does.
    """

    figure: str
    command: str
    commit: str
    date: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    faults: Sequence[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Writes `<figure>.json` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.figure}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @staticmethod
    def read(path: Path) -> "Document":
        """Reads what `write` wrote."""
        return Document(**json.loads(path.read_text()))


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of those packages that matter and are installed."""
    installed = {each.name for each in distributions()}
    return {"python": python_version()} | {
        name: version(name) for name in _PACKAGES if name in installed
    }


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was before."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu[1] if cpu else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "load_average_before": os.getloadavg()[0],
    }


def commit() -> str:
    """The commit of this repository, with "-dirty" if files differ from it."""
    root = Path(__file__).parents[2]
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", ".", ":!docs")
    return f"{head}-dirty" if head and changed else head or "unknown"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def number(value: float, digits: int = 1) -> str:
    """A number with so many digits after the point; whole numbers without any."""
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def ranged(values: Mapping[str, float], digits: int = 1) -> str:
    """A median with its range: `12.3 (11.9 to 12.8)`."""
    median, low, high = (f"{values[key]:.{digits}f}" for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def show(tables: Iterable[Table]) -> None:
    """Prints tables."""
    # A pipe has no width of its own, and cut tables are of no use in a log.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    for table in tables:
        shown = RichTable(*table.columns, title=escape(table.title), title_justify="left")
        for row in table.rows:
            shown.add_row(*map(escape, row))
        console.print(shown)


def markdown(document: Document, tables: Iterable[Table]) -> str:
    """A figure's section of the page."""
    at, of = document.versions, document.machine
    lines = [
        f"### {document.figure}",
        "",
        f"{document.date[:10]}, commit `{document.commit[:12]}`, {of['cores']} x {of['cpu']}, "
        f"Python {at['python']}, onnxruntime {at['onnxruntime']}, grpcio {at['grpcio']}. "
        f"Made by `{document.command}`.",
        *(f"\n**Not valid**: {fault}." for fault in document.faults),
    ]
    for table in tables:
        rule = ["---"] * len(table.columns)
        rows = [f"| {' | '.join(row)} |" for row in (table.columns, rule, *table.rows)]
        lines += ["", f"**{table.title}**", "", *rows]
    return "\n".join(lines)


def put_between_markers(page: str, text: str, name: str = "figures") -> str:
    """The page with `text` in place of what stood between the two markers of that name.

    Raises:
        ValueError: The page has no markers.
    """
    opening, closing = (mark.replace("figures", name) for mark in (BEGIN, END))
    before, begin, rest = page.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {opening} and {closing}")
    return f"{before}{opening}\n\n{text}\n\n{closing}{after}"
