"""The data sets that streams are made of: those of HONED_DATA, or any CSV file."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from honed_adapt.feedback.values import text_hash
from honed_loadtest.datasets import DataMissing, Example, data_folder
from honed_loadtest.learning.files import read
from honed_loadtest.learning.jobs import name_of
from honed_loadtest.learning.streams import Material, Said

_OUTSIDE = "oos"
_HELD_OUT = 5  # of a file without a test part every fifth text is held out


def of(data: str, limit: int | None = None) -> Material:
    """A data set by its name, or a CSV file by its path, which is absolute."""
    path = Path(data)
    return of_file(path, limit) if path.is_absolute() else named(data, limit)


def named(name: str, limit: int | None = None) -> Material:
    """A data set of HONED_DATA by its folder.

    Args:
        name: Its folder; `arxiv_stream` has one file in the order of time, the others two.
        limit: At most so many rows of each part: random ones, or of a dated file evenly many.

    Raises:
        DataMissing: A file is missing.
    """
    folder = data_folder() / name
    if any((folder / f"stream{ending}").exists() for ending in (".csv", ".csv.gz")):
        return Material(name, _dated(_table(folder / "stream.csv"), limit))
    train, test = (_table(folder / f"{part}.csv") for part in ("train", "test"))
    outside = tuple(row["text"] for row in test if row["label"] == _OUTSIDE)
    rows = _said([row for row in _some(train, limit) if row["label"] != _OUTSIDE])
    kept = [row for row in _some(test, limit) if row["label"] != _OUTSIDE]
    return Material(name, rows, tuple((row["text"], row["label"]) for row in kept), outside[:limit])


def of_file(path: Path, limit: int | None = None) -> Material:
    """Any CSV file, or `.csv.gz`, with the columns `text` and `label`, and perhaps `date`.

    With dates it is a stream in their order. Without, every fifth text by its hash is held out as
    a test, with all rows that have it.

    Raises:
        BenchError: As `files.read` has it.
    """
    found, name = read(path), name_of(str(path))
    if "date" in found.rows[0]:
        rows = sorted(found.rows, key=lambda row: row["date"])
        return Material(name, _dated(rows, limit), skipped=found.skipped)
    table = _some(found.rows, limit)
    held = set(sorted({row["text"] for row in table}, key=text_hash)[::_HELD_OUT])
    test: list[Example] = [(row["text"], row["label"]) for row in table if row["text"] in held]
    train = [row for row in table if row["text"] not in held]
    return Material(name, _said(train), tuple(test), skipped=found.skipped)


def _said(table: Sequence[dict[str, str]]) -> tuple[Said, ...]:
    return tuple(
        Said(row["text"], row["label"], row["label"], date=row.get("date") or "") for row in table
    )


def _dated(table: list[dict[str, str]], limit: int | None) -> tuple[Said, ...]:
    """All rows, or some from all times."""
    return _said(table[:: -(-len(table) // limit) if limit else 1])


def _some(table: list[dict[str, str]], limit: int | None) -> list[dict[str, str]]:
    """The rows in random order, at most so many."""
    order = np.random.default_rng(0).permutation(len(table))[:limit]
    return [table[i] for i in order]


def _table(path: Path) -> list[dict[str, str]]:
    packed = path.with_name(path.name + ".gz")
    found = packed if packed.exists() else path
    try:
        opened = gzip.open if found.suffix == ".gz" else open
        with opened(found, "rt", encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}: set HONED_DATA") from error
    for column in ("text", "label"):
        if not table or column not in table[0]:
            raise DataMissing(f"{path} needs rows with a column {column!r}")
    return table
