"""The labelled texts that are measured on, and the orders in which a stream may bring them."""

import csv
import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from honed_loadtest.errors import BenchError

Example = tuple[str, str]
"""A text and its label."""


class DataMissing(BenchError):
    """A data set is not there; the message names the file. Set HONED_DATA."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The official split of one data set, as its files have it."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]


def data_folder() -> Path:
    """HONED_DATA, else `shared/data` beside the repository."""
    return Path(os.environ.get("HONED_DATA") or Path(__file__).parents[3] / "shared" / "data")


def load(name: str, *, limit: int | None = None, without: str | None = None) -> Dataset:
    """Reads `<name>/train.csv` and `<name>/test.csv`, or either as `.csv.gz`.

    Args:
        name: Folder of the data set.
        limit: Keep only this many random rows of each file, for quick runs.
        without: Label to leave out, such as "oos".

    Raises:
        DataMissing: A file is missing.
    """
    parts = []
    for part in ("train", "test"):
        rows = [row for row in _rows(data_folder() / name / f"{part}.csv") if row[1] != without]
        parts.append(tuple(rows if limit is None else shuffled(rows, seed=0)[:limit]))
    return Dataset(*parts)


def _rows(path: Path) -> list[Example]:
    packed = path.with_suffix(".csv.gz")
    try:
        with (
            gzip.open(packed, "rt", encoding="utf-8", newline="")
            if packed.exists()
            else path.open(encoding="utf-8", newline="")
        ) as file:
            return [(row["text"], row["label"]) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise DataMissing(f"{path} is missing: set HONED_DATA to the data sets' folder") from error


def shuffled(rows: Sequence[Example], *, seed: int) -> list[Example]:
    """The rows in random order."""
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]


def class_incremental(rows: Sequence[Example], *, blocks: int, seed: int) -> list[Example]:
    """The rows class by class: the classes come in `blocks` groups, each shuffled inside.

    Which classes share a group is random too.
    """
    classes = sorted({label for _, label in rows})
    order = np.random.default_rng(seed).permutation(len(classes))
    block_of = {
        classes[i]: number
        for number, block in enumerate(np.array_split(order, blocks))
        for i in block
    }
    return sorted(shuffled(rows, seed=seed), key=lambda row: block_of[row[1]])


def read_texts(path: Path) -> list[str]:
    """Texts of a file: the `text` column of a CSV file, else one text a line.

    Raises:
        DataMissing: The file is missing or holds no text.
    """
    if path.suffix == ".csv":
        return [text for text, _ in read_examples(path, labelled=False)]
    try:
        texts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}") from error
    return _present([text for text in texts if text], path)


def read_examples(path: Path, *, labelled: bool = True) -> list[Example]:
    """Rows of a CSV file with the columns `text` and `label`; "" where no labels are wanted.

    Raises:
        DataMissing: The file is missing, lacks a column or holds no rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], row["label"] if labelled else "") for row in csv.DictReader(file)]
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise DataMissing(f"{path} needs a column {error}") from error
    return _present(rows, path)


RowT = TypeVar("RowT")


def _present(rows: list[RowT], path: Path) -> list[RowT]:
    if not rows:
        raise DataMissing(f"{path} holds no texts")
    return rows
