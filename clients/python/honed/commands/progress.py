"""Progress bars on standard error: seen by people at a terminal, absent everywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import typer

from honed.commands.output import printable

if TYPE_CHECKING:
    from rich.progress import Progress

_BAR_WIDTH = 20  # so that the note fits beside it


class Shown(Protocol):
    """How far a long command has come. Callable as the `progress` argument of the SDK."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Shows that `done` of `total` are done, and a few words behind the bar."""

    def say(self, line: str) -> None:
        """Prints a line to standard error, above the bar."""


@contextmanager
def progress(title: str, unit: Literal["bytes", "rows"] = "rows") -> Iterator[Shown]:
    """Shows a bar while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    title_column = TextColumn("{task.description}", markup=False)
    note_column = TextColumn("{task.fields[note]}", markup=False)
    columns = (title_column, BarColumn(_BAR_WIDTH), amount, note_column)
    with Progress(*columns, console=console) as bars:
        yield _Bar(bars, title)


class _NoBar:
    """Shows nothing, but says what there is to say."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        typer.echo(printable(line), err=True)


class _Bar:
    """A bar of rich, which is imported only when there is one."""

    def __init__(self, bars: "Progress", title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(printable(title), total=None, note="")

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self._bars.update(self._task, completed=done, total=total, note=note)

    def say(self, line: str) -> None:
        self._bars.console.print(printable(line))
