"""What all scenarios share: how long to measure, the data, and servers that have learned."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from honed import Client, FeedbackAck, FeedbackItem
from honed_loadtest import datasets
from honed_loadtest.datasets import Dataset, Example
from honed_loadtest.load import Outcome, run_load
from honed_loadtest.load_client import Job
from honed_loadtest.server import ServerProcess

MODEL = "banking77"
_IMPORT = 256
# In a closed loop at which the server is as busy as it gets.
PEAK_CONCURRENCY = 32
# Threads of an open loop: more than requests will ever be under way at the loads measured.
_OPEN_THREADS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Fixed before a run; the results repeat it.

    Attributes:
        seconds: Of each arm in each round.
        rounds: Interleaved rounds.
        warm_s: Seconds of load before each arm that do not count.
        labels: Labels that are timed in each state of the server.
        rows: Most rows of each file, None for all.
        client_processes: Load clients.
        seed: Of orders and arrivals.
    """

    seconds: float = 20.0
    rounds: int = 3
    warm_s: float = 2.0
    labels: int = 1000
    rows: int | None = None
    client_processes: int = 2
    seed: int = 0

    @staticmethod
    def quick() -> "Plan":
        """Shows that everything runs; its numbers mean nothing."""
        return Plan(seconds=0.3, rounds=1, warm_s=0.1, labels=12, rows=200, client_processes=1)


class Bench:
    """The data and the servers of one invocation.

    Args:
        plan: How much to measure.
        scratch: A short path for data folders: the server has a Unix socket in there.
    """

    def __init__(self, plan: Plan, scratch: Path) -> None:
        self.plan = plan
        self._scratch = scratch
        self._homes = 0

    @cached_property
    def banking(self) -> Dataset:
        """Banking77."""
        return datasets.load("banking77", limit=self.plan.rows)

    @cached_property
    def labels(self) -> list[Example]:
        """The test rows, in random order: labels to submit where accuracy is not measured."""
        return datasets.shuffled(self.banking.test, seed=self.plan.seed)

    @cached_property
    def asked(self) -> list[str]:
        """The test texts, in random order: their file is sorted by class."""
        return [text for text, _ in self.labels]

    @contextmanager
    def empty_server(self, *flags: str) -> Iterator[ServerProcess]:
        """A server over a fresh data folder without any model."""
        with ServerProcess(self.new_home(), "--no-example", *flags) as server:
            yield server

    @contextmanager
    def learned_server(self, *flags: str) -> Iterator[ServerProcess]:
        """A server whose model MODEL has learned the training rows of Banking77."""
        home = self.new_home()
        shutil.copytree(self._learned_home, home)
        with ServerProcess(home, "--no-example", *flags) as server:
            yield server

    @cached_property
    def _learned_home(self) -> Path:
        rows = datasets.shuffled(self.banking.train, seed=self.plan.seed)
        with self.empty_server() as server, server.client() as client:
            learn(client, MODEL, rows)
        return server.home

    def new_home(self) -> Path:
        """A path for a data folder."""
        self._homes += 1
        return self._scratch / f"home-{self._homes}"

    def load(
        self, server: ServerProcess, *, concurrency: int | None = None, rate: float | None = None,
        seconds: float | None = None, seed: int = 0,
    ) -> Job:  # fmt: skip
        """The job of asking MODEL the test texts: closed loop, or open loop at a rate."""
        return Job(
            target=server.target,
            model=MODEL,
            texts=self.asked,
            threads=concurrency or _OPEN_THREADS,
            rate=rate,
            warm_s=self.plan.warm_s,
            seconds=seconds or self.plan.seconds,
            seed=self.plan.seed + seed,
            processes=self.plan.client_processes,
        )

    def peak(self, server: ServerProcess) -> Outcome:
        """What a closed loop at PEAK_CONCURRENCY gets now, in half the time of an arm."""
        seconds = max(self.plan.seconds / 2, 0.3)
        return run_checked(self.load(server, concurrency=PEAK_CONCURRENCY, seconds=seconds))

    def settings(self) -> dict[str, Any]:
        """What the results repeat."""
        return asdict(self.plan)


def run_checked(job: Job) -> Outcome:
    """Does a job; a call that fails makes the figures void.

    Raises:
        RuntimeError: Calls failed.
    """
    return checked(run_load(job))


def checked(outcome: Outcome) -> Outcome:
    """The outcome, if no call failed; raises RuntimeError otherwise."""
    if outcome.failures:
        raise RuntimeError(f"calls failed, so the figures are void: {outcome.failures}")
    return outcome


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
