"""The way of a file of labels into a model: rows -> batches -> acknowledgements -> a tally.

`rows.py` reads, `import_checkpoint.py` remembers how far a run came, `refused_rows.py` writes down
what was refused, and `patience.py` waits for a server that is away. One call is in flight at a
time: of two labels for one text the later row counts, so the order of the rows must be kept.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TypeVar

from honed.client import Client
from honed.commands.import_checkpoint import Checkpoint, Tally
from honed.commands.patience import Patience
from honed.commands.progress import Shown, progress
from honed.commands.refused_rows import RefusedRows
from honed.commands.rows import Row, read_feedback
from honed.errors import HonedError
from honed.types import FeedbackAck, FeedbackItem, Model

_BATCH_ROWS = 256  # what the server takes in one call

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ImportJob:
    """What to import, and how.

    Attributes:
        file: A .csv or .jsonl file.
        rows: How many rows it has, as `count_rows` says.
        errors: Where refused rows are written; beside `file` if None.
        patience_s: How long the server may be away, in seconds.
        restart: Whether to begin with the first row, though an earlier run was interrupted.
    """

    file: Path
    rows: int
    errors: Path | None = None
    patience_s: float = 60.0
    restart: bool = False

    @property
    def errors_file(self) -> Path:
        """Where refused rows are written."""
        return self.errors or self.file.with_name(f"{self.file.name}.errors.jsonl")

    def summary(self, tally: Tally) -> dict[str, object]:
        """What became of the rows, for machines."""
        return {**asdict(tally), "errors_file": str(self.errors_file) if tally.refused else None}

    def sentence(self, tally: Tally) -> str:
        """What became of the rows, for people."""
        where = f"; the refused rows are in {self.errors_file}" if tally.refused else ""
        return f"{tally.sentence()}{where}"


def import_file(client: Client, model: Model, job: ImportJob) -> Tally:
    """Submits the rows of a file, from where an interrupted run stopped.

    Raises:
        HonedError: The server refused a whole call, or was away for too long.
        KeyboardInterrupt: With a sentence about how far it came.
    """
    checkpoint = Checkpoint.of(client.target, model, job.file)
    tally = Tally() if job.restart else checkpoint.load()
    before, began = tally.rows, monotonic()
    rows = islice(read_feedback(job.file), before, None)
    with (
        progress(f"importing {job.file.name}") as shown,
        RefusedRows(job.errors_file, job.file.name, before > 0, shown.say) as refused,
        _told_when_stopped(model.name, job, tally, shown),
    ):
        if before:
            shown.say(f"honed: going on after row {before} of {job.rows}")
        patience = Patience(job.patience_s, shown.say)
        for batch in batched(rows, _BATCH_ROWS):
            outcomes = patience.call(partial(_submit, client, model.name, batch))
            for row, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, HonedError):
                    refused.add(row, outcome)
                tally.count(outcome)
            refused.flush()
            checkpoint.save(tally)
            rate = (tally.rows - before) / (monotonic() - began)
            doubt = f"{tally.refused} refused, {tally.already_recorded} duplicates"
            shown(tally.rows, job.rows, f"{rate:,.0f} rows/s, {doubt}")
    checkpoint.clear()
    return tally


def _submit(client: Client, model: str, batch: list[Row]) -> list[FeedbackAck | HonedError]:
    items = [row.item for row in batch if isinstance(row.item, FeedbackItem)]
    acks = iter(client.submit_many(model, items) if items else ())
    return [row.item if isinstance(row.item, HonedError) else next(acks) for row in batch]


@contextmanager
def _told_when_stopped(model: str, job: ImportJob, tally: Tally, shown: Shown) -> Iterator[None]:
    """Says how far the import came if the user or an error ends it."""

    def stopped() -> str:
        done = f"stopped after row {tally.rows} ({tally.sentence()})"
        return f"{done}; `honed feedback import {model} {job.file}` goes on there"

    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(stopped()) from stop
    except HonedError:
        shown.say(f"honed: {stopped()}")
        raise


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cuts into lists of `size`; the last may be shorter (itertools has this from 3.12)."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
