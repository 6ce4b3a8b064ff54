"""What commands print: one JSON object for programs, or a table for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from honed.errors import HonedError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wide enough that nothing is wrapped or cut when the output goes to a pipe.
_PIPE_WIDTH = 10_000


def as_json(value: object) -> str:
    """One JSON object on one line: a value of the SDK, or a dict of such values."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> object:
    if isinstance(value, HonedError):
        names = ("reason", "status", "message", "details", "violations", "retry_after_s")
        return {"error": {name: getattr(value, name) for name in names}}
    if isinstance(value, datetime):
        return value.isoformat()
    assert is_dataclass(value), "only values of the SDK are printed"
    return {field.name: getattr(value, field.name) for field in fields(value)}


def as_fields(value: Any) -> str:
    """A value of the SDK, each field on its own line."""
    lines = (f"{field.name}: {cell(getattr(value, field.name))}" for field in fields(value))
    return "\n".join(map(printable, lines))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table."""
    console().print(as_table(columns, rows, title))


def as_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
) -> "Table":
    """Makes a table; control characters in what users wrote are shown, not obeyed."""
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*(printable(cell(value)) for value in row))
    return table


def console() -> "Console":
    """Standard output, in which nothing is wrapped or cut unless it is a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def cell(value: object) -> str:
    """A value as people read it in a table."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case datetime():
            return printed_time(value)
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def printed_time(time: datetime | None) -> str:
    """A time to the second, for people."""
    return time.isoformat(sep=" ", timespec="seconds") if time is not None else "-"


def printable(text: str) -> str:
    """Shows line breaks, escapes and other invisible characters as their escape sequences."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
