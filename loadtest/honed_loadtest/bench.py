"""What all figures share: how long to measure, the data, and servers that have learned."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from honed import Client, Prediction
from honed_loadtest import validity
from honed_loadtest.costed import Costed, run_costed
from honed_loadtest.datasets import Example
from honed_loadtest.encoder_alone import EncoderAlone
from honed_loadtest.load import Job, Outcome, run_load
from honed_loadtest.profile import ClosedLoop, OpenLoop, Profile
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL, Servers

# In a closed loop at which the server is as busy as it gets.
PEAK_CONCURRENCY = 32


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
    """The plan, the data and the servers of one invocation.

    Args:
        plan: How much to measure.
        scratch: A short path for data folders.
    """

    def __init__(self, plan: Plan, scratch: Path) -> None:
        self.plan = plan
        self.scratch = scratch
        self.servers = Servers(scratch, plan.rows, plan.seed)
        self.faults: list[str] = []

    @property
    def asked(self) -> list[str]:
        """The test texts, in random order."""
        return [text for text, _ in self.servers.labels]

    def closed(
        self, server: ServerProcess, concurrency: int, seconds: float | None = None
    ) -> Outcome:
        """What a closed loop of asking MODEL the test texts gets."""
        profile = ClosedLoop(concurrency, seconds or self.plan.seconds)
        return self.checked(run_load(self.job(server, profile)))

    def open(self, server: ServerProcess, rate: float, seed: int = 0) -> Outcome:
        """What an open loop of asking MODEL the test texts gets."""
        job = self.job(server, OpenLoop.steady(rate, self.plan.seconds), seed)
        return self.checked(run_load(job))

    def costed(self, server: ServerProcess, job: Job) -> Costed:
        """What a job gets, and what it costs."""
        found = run_costed(server, job)
        self.checked(found.outcome)
        return found

    def checked(self, outcome: Outcome, *, may_fail: bool = False) -> Outcome:
        """The outcome; if it shows the clients and not the server, the figure will say so.

        Raises:
            RuntimeError: Calls failed although none may.
        """
        if not may_fail:
            checked(outcome)
        if outcome.answers.size:
            self.faults += validity.faults(outcome)
        return outcome

    def job(self, server: ServerProcess, profile: Profile, seed: int = 0) -> Job:
        """The job of asking MODEL the test texts."""
        return Job(
            target=server.target,
            questions=[(MODEL, text) for text in self.asked],
            profile=profile,
            warm_s=self.plan.warm_s,
            seed=self.plan.seed + seed,
            processes=self.plan.client_processes,
        )

    def peak(self, server: ServerProcess) -> Outcome:
        """What a closed loop at PEAK_CONCURRENCY gets now, in half the time of an arm."""
        return self.closed(server, PEAK_CONCURRENCY, max(self.plan.seconds / 2, 0.3))

    @contextmanager
    def encoder_alone(
        self, server: ServerProcess, texts: Sequence[str] = ()
    ) -> Iterator[EncoderAlone]:
        """The encoder of MODEL without the server, with the test texts or others."""
        with server.client() as client:
            digest = client.get_model(MODEL).encoder_digest
        with EncoderAlone(server.home / "encoders" / digest, texts or self.asked) as encoder:
            yield encoder

    def settings(self) -> dict[str, Any]:
        """What the results repeat."""
        return asdict(self.plan)


def checked(outcome: Outcome) -> Outcome:
    """The outcome, if no call failed; raises RuntimeError otherwise."""
    if outcome.failures:
        raise RuntimeError(f"calls failed, so the figures are void: {outcome.failures}")
    return outcome


def accuracy(client: Client, model: str, rows: Sequence[Example]) -> float:
    """The share of the rows that a model answers rightly."""
    hits = 0
    for chunk in in_chunks(rows):
        answers = client.predict_many(model, [text for text, _ in chunk])
        for answer, (_, label) in zip(answers, chunk, strict=True):
            if not isinstance(answer, Prediction):
                raise answer
            hits += answer.label == label
    return round(hits / len(rows), 4)


def in_chunks(rows: Sequence[Example], size: int = 64) -> Iterator[Sequence[Example]]:
    """The rows in groups that fit one request."""
    return (rows[at : at + size] for at in range(0, len(rows), size))
