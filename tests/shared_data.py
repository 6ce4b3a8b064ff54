"""The shared data sets: found by HONED_DATA, missing ones skip a test, or fail it in CI."""

import csv
import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def data_file(name: str) -> Path:
    """The path of a file such as "banking77/train.csv"."""
    path = Path(os.environ.get("HONED_DATA", _DEFAULT)) / name
    if not path.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: set HONED_DATA")
        pytest.skip(f"needs {path}: set HONED_DATA to the folder of the data sets")
    return path


def labelled_texts(name: str) -> list[tuple[str, str]]:
    """(text, label) of each row of a CSV file."""
    with data_file(name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]
