"""A load and what it cost: the CPU time of the clients, of the server, and of its engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from honed_loadtest.load import Job, Outcome, run_load
from honed_loadtest.server import ServerProcess
from honed_loadtest.statistics import Latencies, spread


@dataclass(frozen=True, slots=True)
class Costed:
    """What clients saw, and what it took.

    Attributes:
        outcome: What they saw.
        server_s: CPU seconds of the server process in the measured time.
        engine_s: Those of its engine's threads, of these. The further threads that a lone request
            may use are the server's.
    """

    outcome: Outcome
    server_s: float
    engine_s: float

    @property
    def outside_ms_a_text(self) -> float:
        """CPU milliseconds of the server outside the engine for each answered text."""
        return (self.server_s - self.engine_s) * 1e3 / max(self.outcome.texts, 1)

    @property
    def server_ms_a_text(self) -> float:
        """CPU milliseconds of the server for each answered text."""
        return self.server_s * 1e3 / max(self.outcome.texts, 1)

    @property
    def client_ms_a_text(self) -> float:
        """CPU milliseconds of the clients for each answered text."""
        return sum(self.outcome.cpus_s) * 1e3 / max(self.outcome.texts, 1)

    @property
    def server_cores(self) -> float:
        """Cores that the server kept busy."""
        return self.server_s / self.outcome.seconds


def run_costed(server: ServerProcess, job: Job) -> Costed:
    """Does a job. What the warm-up cost is taken off by its share of the time."""
    server_s, engine_s = -server.cpu_s(), -server.engine_cpu_s()
    outcome = run_load(job)
    server_s += server.cpu_s()
    engine_s += server.engine_cpu_s()
    counted = outcome.seconds / (outcome.seconds + job.warm_s)
    return Costed(outcome, server_s * counted, engine_s * counted)


def described(runs: Sequence[Costed]) -> dict[str, Any]:
    """The rounds of one arm, as results hold them."""
    each = [Latencies.of(run.outcome.latencies_s) for run in runs]
    return {
        "texts_per_s": spread([run.outcome.texts_per_s for run in runs]),
        "p50_ms": spread([one.p50_ms for one in each]),
        "p95_ms": spread([one.p95_ms for one in each]),
        "p99_ms": spread([one.p99_ms for one in each]),
        "client_cores": spread([run.outcome.cpu_share for run in runs]),
        "client_ms_a_text": spread([run.client_ms_a_text for run in runs]),
        "server_ms_a_text": spread([run.server_ms_a_text for run in runs]),
        "outside_ms_a_text": spread([run.outside_ms_a_text for run in runs]),
    }


DIGITS = {
    "texts_per_s": 1, "p50_ms": 1, "p95_ms": 1, "p99_ms": 1, "client_cores": 2,
    "client_ms_a_text": 3, "server_ms_a_text": 2, "outside_ms_a_text": 3,
}  # fmt: skip
COLUMNS = [
    "texts/s", "p50 ms", "p95 ms", "p99 ms", "client cores", "client CPU ms a text",
    "server CPU ms a text", "of it outside the engine",
]  # fmt: skip
