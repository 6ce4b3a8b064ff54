"""Any CSV file of labels, read by the rules of the product's own import; faults name their line.

A file as a whole that is no such file is refused. A row that the server would refuse is left out
and told of, and so is one that has more or fewer cells than the header.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from honed_loadtest.errors import BenchError
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest

_LARGEST_CELL = 1 << 24  # characters; what is longer is a quote that was never closed
_RAGGED = "not as many cells as the header has: quote texts that hold commas"
_MONTH = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?", re.ASCII)
_LINES_SHOWN, _HEADER_SHOWN = 5, 200


@dataclass(frozen=True, slots=True)
class Table:
    """What one file holds.

    Attributes:
        rows: With the keys text and label, and date if there are dates: ISO 8601, in UTC, such
            that their order as strings is that of time.
        skipped: For each reason to leave rows out, a sentence with their number and first lines.
    """

    rows: list[dict[str, str]]
    skipped: tuple[str, ...]


@dataclass(slots=True)
class _Skipped:
    """Lines that were left out, by reason, with the first one's sentence."""

    lines: dict[str, list[int]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def add(self, line: int, reason: str, why: str) -> None:
        self.lines.setdefault(reason, []).append(line)
        self.why.setdefault(reason, why)

    def sentences(self) -> tuple[str, ...]:
        return tuple(self._sentence(reason) for reason in self.lines)

    def _sentence(self, reason: str) -> str:
        lines = self.lines[reason]
        shown = ", ".join(str(line) for line in lines[:_LINES_SHOWN])
        more = ", ..." if len(lines) > _LINES_SHOWN else ""
        rows, at = ("row", "line") if len(lines) == 1 else ("rows", "lines")
        return f"{len(lines)} {rows} left out: {self.why[reason]} ({at} {shown}{more})"


def read(path: Path) -> Table:
    """Reads a file with the columns `text` and `label`, and perhaps `date`; others are ignored.

    Args:
        path: UTF-8, with or without a byte order mark; compressed if its name ends in `.gz`.

    Raises:
        BenchError: It cannot be read, is no such file, has dates in some rows only or dates that
            are not ISO 8601, or fewer than two labels.
    """
    lines = _lines(path)
    columns = _columns(path, next(lines, (0, []))[1])
    skipped, numbers = _Skipped(), []
    rows: list[dict[str, str]] = []
    width = max(columns["width"], 1)
    names: list[str] = [name for name in ("text", "label", "date") if name in columns]
    for line, cells in lines:
        if len(cells) != width:
            skipped.add(line, _RAGGED, _RAGGED)
            continue
        row = {name: cells[columns[name]] for name in names}
        fault = validate.text_fault(row["text"], "text") or _label_fault(row["label"])
        if fault is not None:
            skipped.add(line, fault.reason, str(fault))
            continue
        rows.append(row)
        numbers.append(line)
    if not rows:
        raise BenchError(f"{path} holds no labels: {'; '.join(skipped.sentences()) or 'no rows'}")
    labels = {row["label"] for row in rows}
    if len(labels) < 2:
        raise BenchError(
            f"{path}: all labels are {labels.pop()!r}: there is nothing to tell apart; "
            "give rows of two labels or more"
        )
    return Table(_dated(path, rows, numbers), skipped.sentences())


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Places of the columns that count, and how many there are: "width"."""
    wrong = [name for name in ("text", "label") if header.count(name) != 1]
    if wrong or header.count("date") > 1:
        shown = ",".join(header)[:_HEADER_SHOWN]
        raise BenchError(
            f"{path}: the first line is {shown!r}: it must name the columns text and label, and "
            "may name date, each once, with commas between"
        )
    names = [name for name in ("text", "label", "date") if name in header]
    return {name: header.index(name) for name in names} | {"width": len(header)}


def _label_fault(label: str) -> InvalidRequest | None:
    try:
        validate.label(label, "label")
    except InvalidRequest as error:
        return error
    return None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row that is not blank, with the number of its last line, from 1."""
    if path.exists() and not path.is_file():
        raise BenchError(f"{path} is no regular file: it is read more than once")
    line = 0
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        with _opened(path) as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield line, cells
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path}, line {_undecodable(path)}: not UTF-8 ({error.reason}): save it as UTF-8"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BenchError(
            f"{path}, after line {line}: not a whole gzip file ({error}): compress or copy it again"
        ) from error
    except csv.Error as error:
        raise BenchError(
            f"{path}: the row that begins in line {line + 1} is no CSV ({error}): close its quotes "
            "and double those within"
        ) from error
    except OSError as error:
        why = error.strerror or error
        raise BenchError(f"{path} cannot be read: {why}: name a CSV file") from error
    finally:
        csv.field_size_limit(before)


def _opened(path: Path) -> IO[str]:
    # utf-8-sig: spreadsheets begin their files with a byte order mark.
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _undecodable(path: Path) -> int:
    """Number of the first line that is not UTF-8."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        return next((n for n, line in enumerate(file, 1) if not _decodes(line)), 1)


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _dated(path: Path, rows: list[dict[str, str]], numbers: Iterable[int]) -> list[dict[str, str]]:
    """The rows with dates that can be compared, or without any if the column is blank.

    Args:
        path: For errors.
        rows: Those that are kept.
        numbers: Their lines.
    """
    if not any(row.get("date", "").strip() for row in rows):
        return [{"text": row["text"], "label": row["label"]} for row in rows]
    found = []
    for line, row in zip(numbers, rows, strict=True):
        try:
            found.append({**row, "date": _date(row["date"].strip())})
        except ValueError as error:
            raise BenchError(f"{path}, line {line}: {error}") from error
    return found


def _date(text: str) -> str:
    if not text:
        raise ValueError("no date, but other rows have one: date all rows or leave the column out")
    if _MONTH.fullmatch(text):
        return text
    try:
        time = datetime.fromisoformat(text)
        zoned = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"the date {text!r} is not ISO 8601: write 2018, 2018-02, 2018-02-01 or "
            "2018-02-01T12:30"
        ) from error
    if len(text) <= len("2018-02-01"):
        return time.date().isoformat()
    return zoned.replace(tzinfo=None).isoformat()
