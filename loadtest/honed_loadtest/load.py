"""Load on a server from several client processes (`load_client.py`), and what it cost them."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from threading import Event
from time import monotonic
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.load_client import Job, Result

# From the order to start until the first request: enough for the order to reach all processes.
_HEAD_START_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all client processes saw together.

    Attributes:
        latencies_s: float64 (answers,): from due to answered.
        queued_s: float64 (answers,): what the server says they waited for the engine.
        computed_s: float64 (answers,): what it says that their batch took.
        failures: How many calls failed, by status.
        served: How often each "version.revision" answered.
        cpu_s: CPU seconds of the client processes.
        seconds: Length of the measured time.
    """

    latencies_s: NDArray[np.float64]
    queued_s: NDArray[np.float64]
    computed_s: NDArray[np.float64]
    failures: dict[str, int]
    served: dict[str, int]
    cpu_s: float
    seconds: float

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    @property
    def cpu_share(self) -> float:
        """Cores that the clients kept busy."""
        return self.cpu_s / self.seconds

    @property
    def cpu_ms_per_request(self) -> float:
        """CPU milliseconds of the clients for each answer."""
        return self.cpu_s * 1e3 / max(len(self.latencies_s), 1)

    @staticmethod
    def of(results: Sequence[Result]) -> "Outcome":
        """Puts the processes' results together."""
        failures: Counter[str] = Counter()
        served: Counter[str] = Counter()
        for result in results:
            failures.update(result.failures)
            served.update(result.served)
        return Outcome(
            np.concatenate([np.asarray(result.latencies_s) for result in results]),
            np.concatenate([np.asarray(result.queued_s) for result in results]),
            np.concatenate([np.asarray(result.computed_s) for result in results]),
            dict(failures),
            dict(served),
            sum(result.cpu_s for result in results),
            max(result.seconds for result in results),
        )


class Load:
    """Clients that ask from the end of construction on; `wait` for their end, or `stop` them early.

    Args:
        job: What they do together: threads, texts and rate are shared out among them.
    """

    def __init__(self, job: Job) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for part in shares(job):
                self._processes.append(_started(part))
            for process in self._processes:
                if _output(process).readline() != "ready\n":
                    raise RuntimeError("a load client could not reach the server")
            start = monotonic() + _HEAD_START_S
            for process in self._processes:
                _say(process, str(start))
            Event().wait(start - monotonic())
        except BaseException:
            self._kill()
            raise

    def wait(self) -> Outcome:
        """Waits until they are done and returns what they saw."""
        outputs = [_output(process).read() for process in self._processes]
        self._reap()
        return Outcome.of([Result(**json.loads(output)) for output in outputs])

    def stop(self) -> Outcome:
        """Ends them now and returns what they saw."""
        for process in self._processes:
            _input(process).close()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        self._reap()

    def _reap(self) -> None:
        for process in self._processes:
            _input(process).close()
            _output(process).close()
            process.wait()


def shares(job: Job) -> list[Job]:
    """The job's parts for each process; together they send what the whole job would.

    Texts are dealt out in turn, and arrivals at a rate have a seed for each process.
    """
    processes = min(job.processes, job.threads)
    return [
        replace(
            job,
            texts=job.texts[n::processes] or job.texts,
            threads=len(range(n, job.threads, processes)),
            rate=None if job.rate is None else job.rate / processes,
            seed=job.seed * processes + n,
            processes=1,
        )
        for n in range(processes)
    ]


def run_load(job: Job) -> Outcome:
    """Does a job from start to end."""
    with Load(job) as load:
        return load.wait()


def _started(job: Job) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "honed_loadtest.load_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _say(process, json.dumps(asdict(job)))
    return process


def _say(process: subprocess.Popen[str], line: str) -> None:
    _input(process).write(f"{line}\n")
    _input(process).flush()


def _input(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None, "stdin is a pipe"
    return process.stdin


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None, "stdout is a pipe"
    return process.stdout
