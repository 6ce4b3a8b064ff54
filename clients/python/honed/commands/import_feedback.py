"""The loop of `honed feedback import`: rows -> batches -> a tally of what became of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from honed.client import Client
from honed.commands.failure import complain
from honed.commands.rows import Row
from honed.errors import HonedError
from honed.types import FeedbackAck, FeedbackItem

_BATCH_ROWS = 256  # what the server takes in one call

Item = TypeVar("Item")


@dataclass(slots=True)
class Tally:
    """How many rows were recorded now, had been recorded before, or were refused."""

    recorded: int = 0
    already_recorded: int = 0
    failed: int = 0

    def sentence(self) -> str:
        """The tally for people."""
        return (
            f"{self.recorded} recorded, {self.already_recorded} already recorded, "
            f"{self.failed} failed"
        )

    def count(self, outcome: FeedbackAck | HonedError) -> None:
        """Adds the outcome of one row."""
        if isinstance(outcome, HonedError):
            self.failed += 1
        elif outcome.already_recorded:
            self.already_recorded += 1
        else:
            self.recorded += 1


def import_rows(
    client: Client, model: str, rows: Iterable[Row], tally: Tally, file_name: str
) -> None:
    """Submits rows in batches, counts them in `tally` and complains about each refused one.

    Raises:
        HonedError: A whole call failed; `tally` tells what had been done.
    """
    for batch in batched(rows, _BATCH_ROWS):
        items = [row.item for row in batch if isinstance(row.item, FeedbackItem)]
        acks = iter(client.submit_many(model, items)) if items else iter(())
        for row in batch:
            outcome = row.item if isinstance(row.item, HonedError) else next(acks)
            tally.count(outcome)
            if isinstance(outcome, HonedError):
                complain(outcome, f"{file_name}, line {row.line}")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cuts into lists of `size`; the last may be shorter (itertools has this from 3.12)."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
