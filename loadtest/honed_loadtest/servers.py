"""Servers to measure, each over a fresh data folder: empty, or with a model that has learned."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from honed import Client, FeedbackAck, FeedbackItem
from honed_loadtest import datasets
from honed_loadtest.datasets import Dataset, Example
from honed_loadtest.server import ServerProcess

MODEL = "banking77"
EXAMPLE = "support"
_IMPORT = 256


class Servers:
    """Makes servers that know nothing, the example, or Banking77.

    Args:
        scratch: A short path for data folders: the server has a Unix socket in there.
        rows: Most rows of each file of the data set, None for all.
        seed: Of their order.
    """

    def __init__(self, scratch: Path, rows: int | None = None, seed: int = 0) -> None:
        self._scratch, self._rows, self._seed = scratch, rows, seed
        self._homes = 0

    @cached_property
    def banking(self) -> Dataset:
        """Banking77."""
        return datasets.load("banking77", limit=self._rows)

    @cached_property
    def labels(self) -> list[Example]:
        """The test rows, in random order: their file is sorted by class."""
        return datasets.shuffled(self.banking.test, seed=self._seed)

    @contextmanager
    def empty(self, *flags: str) -> Iterator[ServerProcess]:
        """A server without any model."""
        with ServerProcess(self.new_home(), "--no-example", *flags) as server:
            yield server

    @contextmanager
    def learned(self, *flags: str) -> Iterator[ServerProcess]:
        """A server whose model MODEL has learned the training rows of Banking77."""
        home = self.new_home()
        shutil.copytree(self._learned_home, home)
        with ServerProcess(home, "--no-example", *flags) as server:
            yield server

    @contextmanager
    def example(self, *flags: str) -> Iterator[ServerProcess]:
        """A server whose model EXAMPLE has learned what comes with the package."""
        home = self.new_home()
        # Learned before the flags apply: they may leave learning out.
        with ServerProcess(home):
            pass
        with ServerProcess(home, *flags) as server:
            yield server

    @cached_property
    def _learned_home(self) -> Path:
        rows = datasets.shuffled(self.banking.train, seed=self._seed)
        with self.empty() as server, server.client() as client:
            learn(client, MODEL, rows)
        return server.home

    def new_home(self) -> Path:
        """A path for a data folder."""
        self._homes += 1
        return self._scratch / f"home-{self._homes}"


def learn(client: Client, model: str, rows: Sequence[Example]) -> float:
    """Creates a model and teaches it the rows; returns the seconds until all were served."""
    started = time.monotonic()
    client.create_model(model)
    last = 0
    for chunk in (rows[i : i + _IMPORT] for i in range(0, len(rows), _IMPORT)):
        items = [FeedbackItem(text=text, label=label, submitter="bench") for text, label in chunk]
        for result in client.submit_many(model, items):
            if not isinstance(result, FeedbackAck):
                raise result
            last = result.position
    with client.watch(model) as events:
        next(event for event in events if event.model.revision >= last)
    return time.monotonic() - started
