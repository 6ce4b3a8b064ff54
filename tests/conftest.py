"""Fixtures that several folders of tests share."""

import csv
import os
import runpy
from pathlib import Path

import pytest

# The threads of numpy and PyTorch spin for each other, which takes for ever where several processes
# are at work. Both read this when they are first imported.
os.environ["OMP_NUM_THREADS"] = "1"

from honed_adapt.encoders.store import default_source

# Kernels run in Triton's interpreter. Triton reads this when it is first imported, which any test
# may cause.
os.environ["TRITON_INTERPRET"] = "1"

EXAMPLES = Path(__file__).parents[1] / "examples"
TAUGHT = ("opening_hours", "refund_status", "reset_password", "warranty")


@pytest.fixture(scope="session")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged MiniLM as a classifier of four labels, truly if briefly fine-tuned."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    with (EXAMPLES / "support" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in TAUGHT]
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    fine_tune = runpy.run_path(str(EXAMPLES / "fine_tune.py"))["fine_tune"]
    data, out = folder / "train.csv", folder / "model"
    fine_tune(data, out, default_source(), epochs=2, rate=5e-4, seed=0)
    return out
