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
# Rows from which on the server finds out whether integers are as good, and how long that may take.
_DECIDED_FROM, _DECIDED_S = 2000, 300


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
    def learned(
        self, *flags: str, precision: str = "fp32", module: str = "honed_server.main"
    ) -> Iterator[ServerProcess]:
        """A server whose model MODEL has learned the training rows of Banking77.

        Args:
            flags: of the server.
            precision: of its answers; "int8" only if it is among `precisions`.
            module: what is started.
        """
        home = self.new_home()
        shutil.copytree(self._learned_home, home)
        setting = "auto" if precision == "int8" else "fp32"
        own = ("--no-example", "--precision", setting)
        with ServerProcess(home, *own, *flags, module=module) as server:
            yield server

    @cached_property
    def precisions(self) -> tuple[str, ...]:
        """In what MODEL may answer, once it has learned: in float32, and perhaps in integers."""
        with self.learned(precision="int8") as server, server.client() as client:
            return ("fp32",) if client.get_model(MODEL).precision == "fp32" else ("fp32", "int8")

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
            if len(rows) >= _DECIDED_FROM:
                # Else each server over this home would find out by itself, while it is measured.
                with client.watch(MODEL, timeout_s=_DECIDED_S) as events:
                    next(None for _ in events if _decided(client))
        return server.home

    def new_home(self) -> Path:
        """A path for a data folder."""
        self._homes += 1
        return self._scratch / f"home-{self._homes}"


def _decided(client: Client) -> bool:
    """Whether it is known if MODEL may answer in integers."""
    return any(decision.kind == "precision" for decision in client.list_decisions(MODEL))


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
