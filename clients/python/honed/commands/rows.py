"""CSV and JSONL files of labels -> feedback items, row by row; nothing is held for longer.

A row that cannot be read is reported in its place; the rows around it are not affected.
`import_feedback.py` sends what is read here.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

from honed.errors import InvalidRequest
from honed.types import FeedbackItem, FeedbackKind

_COLUMNS = ("text", "label", "id", "submitter", "time", "weight", "kind")

Cells: TypeAlias = Mapping[str, object]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        line: Number of its (last) line in the file, from 1.
        content: What stands there, as JSON can hold it: cells by column, or the line.
        item: The label, or why the row is none.
    """

    line: int
    content: object
    item: FeedbackItem | InvalidRequest


@dataclass(frozen=True, slots=True)
class _Content:
    """A row before it is understood; `fault` says why it has no cells that could be."""

    line: int
    content: object
    fault: str = ""


def read_feedback(path: Path) -> Iterator[Row]:
    """Reads a UTF-8 file of labels lazily: .csv with a header line, or .jsonl.

    Raises:
        InvalidRequest: The file as a whole is not such a file.
    """
    for row in _contents(path):
        yield Row(row.line, row.content, _item(row))


def count_rows(path: Path) -> int:
    """Reads the whole file, without looking into its rows.

    Raises:
        InvalidRequest: As `read_feedback`, but before any row has been used.
    """
    return sum(1 for _ in _contents(path))


def _contents(path: Path) -> Iterator[_Content]:
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _bad(f"{path.name}: the name must end in .csv or .jsonl")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise _bad(f"{path.name} is not UTF-8: {error}") from error


def _csv_rows(path: Path) -> Iterator[_Content]:
    # utf-8-sig: spreadsheets begin their files with a byte order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header = tuple(reader.fieldnames or ())
        unknown = [name for name in header if name not in _COLUMNS]
        if unknown or not {"text", "label"} <= set(header):
            raise _bad(
                f"{path.name} has the columns {', '.join(header) or 'nothing'}; text and label are "
                f"needed, and only {', '.join(_COLUMNS)} are known"
            )
        try:
            for cells in reader:
                ragged = None in cells or None in cells.values()
                fault = f"the row has not {len(header)} cells" if ragged else ""
                yield _Content(reader.line_num, cells, fault)
        except csv.Error as error:
            raise _bad(f"{path.name}, line {reader.line_num}: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[_Content]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield _json_row(line, text.strip())


def _json_row(line: int, text: str) -> _Content:
    try:
        cells = json.loads(text)
    except ValueError as error:
        return _Content(line, text, str(error))
    if not isinstance(cells, dict):
        return _Content(line, text, "a line must hold one JSON object")
    unknown = ", ".join(name for name in cells if name not in _COLUMNS)
    return _Content(line, cells, f"unknown column: {unknown}" if unknown else "")


def _item(row: _Content) -> FeedbackItem | InvalidRequest:
    if row.fault:
        return _bad(row.fault)
    try:
        return _parse(cast(Cells, row.content))
    except ValueError as error:
        return _bad(str(error))


def _parse(cells: Cells) -> FeedbackItem:
    """Raises ValueError with a sentence about the first cell that is wrong."""
    return FeedbackItem(
        text=_text(cells, "text"),
        label=_label(cells),
        kind=_parsed(cells, "kind", FeedbackKind) or FeedbackKind.AUDIT,
        submitter=_text(cells, "submitter"),
        weight=_parsed(cells, "weight", float) or 1.0,
        event_time=_parsed(cells, "time", _time),
        idempotency_key=_text(cells, "id") or _content_hash(cells),
    )


def _label(cells: Cells) -> str | Mapping[str, float]:
    """A label, or in JSON an object of labels and their shares."""
    value = cells.get("label")
    if not isinstance(value, dict):
        return _text(cells, "label")
    numbers = (type(share) in (int, float) for share in value.values())
    if not value or not all(numbers):
        raise ValueError('label must be a string, or an object like {"a": 0.7, "b": 0.3}')
    return value


def hard_label(item: FeedbackItem, of: str) -> str:
    """The one label of an item.

    Raises:
        InvalidRequest: It shares its text among several, which is nothing for what it is `of`.
    """
    if isinstance(item.label, str):
        return item.label
    raise _bad(f"label is shared among {', '.join(item.label)}; {of} takes one label for a text")


def _text(cells: Cells, name: str) -> str:
    """A cell as text, empty if left out. JSON may give numbers, but not for what users wrote."""
    value = cells.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if name in ("text", "label") or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a string")
    return str(value)


def _parsed(cells: Cells, name: str, parse: Callable[[str], Value]) -> Value | None:
    """A cell as what it stands for, None if left out."""
    text = _text(cells, name)
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _time(text: str) -> datetime:
    """ISO 8601, in UTC unless it says otherwise, or Unix seconds."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError):
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


def _content_hash(cells: Cells) -> str:
    """Names a row by its content, so that importing it again repeats its idempotency key."""
    content = json.dumps(cells, sort_keys=True, ensure_ascii=False)
    return sha256(content.encode()).hexdigest()


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest(message, "INVALID_IMPORT", "INVALID_ARGUMENT")
