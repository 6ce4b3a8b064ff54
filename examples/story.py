"""What the examples share: their options and data, a stream of labels, and what they expect."""

import argparse
import csv
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from honed import Client, FeedbackItem, HonedError, Prediction

Row = tuple[str, str]
"""A text and its right label."""


def options(story: str | None, data: str) -> argparse.Namespace:
    """The command line of an example: server, file of texts, and the encoder of its model."""
    parser = argparse.ArgumentParser(description=story)
    parser.add_argument("--target", help="address of the server; HONED_TARGET if left out")
    folder = Path(os.environ.get("HONED_DATA", "data"))
    parser.add_argument("--data", type=Path, default=folder / data, help="CSV with text,label")
    parser.add_argument(
        "--encoder", type=Path, help="folder of an encoder; the server's if left out"
    )
    chosen = parser.parse_args()
    if not chosen.data.is_file():
        parser.error(f"there is no {chosen.data}: examples/README.md says where to get it")
    return chosen


def read(path: Path, *, seed: int = 0) -> list[Row]:
    """The rows of a CSV file with the columns text and label, shuffled."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    random.Random(seed).shuffle(rows)
    return rows


def new_model(client: Client, prefix: str, encoder: Path | None) -> str:
    """Creates an empty model under a name that was never used; returns the name."""
    name = f"{prefix}-{uuid4().hex[:8]}"
    if encoder is None:
        return client.create_model(name).name
    return client.import_model(name, encoder, without_head=True).name


def learn(client: Client, model: str, rows: Sequence[Row], batch: int = 100) -> None:
    """Asks each batch, then teaches it; prints how much was right before it was learned."""
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        if start:
            right = share_right(ask(client, model, part), part)
            tell(f"  after {start:4} labels: {right:4.0%}")
        items = [FeedbackItem(text=text, label=label, submitter="desk") for text, label in part]
        for ack in client.submit_many(model, items, wait=True, timeout_s=60):
            if isinstance(ack, HonedError):
                raise ack


def ask(client: Client, model: str, rows: Sequence[Row]) -> list[Prediction]:
    """Answers in the order of the rows; raises the first error among them."""
    results = list(client.predict_stream(model, (text for text, _ in rows)))
    for result in results:
        if isinstance(result, HonedError):
            raise result
    return [result for result in results if isinstance(result, Prediction)]


def share_right(answers: Sequence[Prediction], rows: Sequence[Row]) -> float:
    """Share of answers with the right label, 0 to 1."""
    return sum(a.label == label for a, (_, label) in zip(answers, rows, strict=True)) / len(rows)


def above(
    answers: Sequence[Prediction], rows: Sequence[Row], probability: float
) -> tuple[float, float]:
    """Of answers at least that sure: their share of all, and the share of them that is right."""
    sure = [(a, row) for a, row in zip(answers, rows, strict=True) if a.probability >= probability]
    right = share_right([a for a, _ in sure], [row for _, row in sure]) if sure else 0.0
    return len(sure) / len(rows), right


def tell(line: str) -> None:
    """Prints a line of the story."""
    print(line, flush=True)  # noqa: T201


def expect(what: str, good: bool) -> None:
    """Says whether an expectation holds; ends the program with 1 if it does not."""
    tell(f"  {'ok' if good else 'FAILED'}: {what}")
    if not good:
        sys.exit(1)
