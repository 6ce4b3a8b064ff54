"""Load on a server from several client processes (`load_client.py`), and what it cost them."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from threading import Event
from time import monotonic
from types import TracebackType
from typing import IO, Self, cast

import grpc
import numpy as np
from numpy.typing import NDArray

from honed_loadtest import samples
from honed_loadtest.arrivals import Times
from honed_loadtest.errors import BenchError
from honed_loadtest.load_client import Part
from honed_loadtest.profile import ClosedLoop, Profile
from honed_loadtest.samples import SAMPLE, Samples

Question = tuple[str, str]
"""The model to ask, and the text."""

# From the order to start until the first request: enough for the order to reach all processes.
_HEAD_START_S = 0.1
# A p99 that holds its bound leaves so many above it.
_MAY_EXCEED = 0.01
_STATUSES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Job:
    """What the clients do together.

    Attributes:
        target: Address of the server.
        questions: Asked in turn for ever.
        profile: When.
        warm_s: Seconds before anything counts.
        timeout_s: Deadline of each request.
        seed: Of the arrival times.
        processes: How many client processes share it out.
        texts: Texts of each request: so many questions in a row, which name one model.
        stream: Whether each process sends its requests over one bidirectional stream.
        client: Module of the client processes.
        bound_s: An open loop ends early when no p99 within it can be reached any more.
        throttle: Whether each process holds calls of an open loop back as the SDK does.
    """

    target: str
    questions: Sequence[Question]
    profile: Profile
    warm_s: float
    timeout_s: float = 30.0
    seed: int = 0
    processes: int = 1
    texts: int = 1
    stream: bool = False
    client: str = "honed_loadtest.load_client"
    bound_s: float | None = None
    throttle: bool = False

    @property
    def requests(self) -> list[tuple[str, list[str]]]:
        """The model and the texts of each request, in turn for ever."""
        asked, of = self.questions, self.texts
        return [
            (asked[at][0], [asked[n % len(asked)][1] for n in range(at, at + of)])
            for at in range(0, len(asked), of)
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all client processes saw together.

    Attributes:
        samples: Of the requests that count: an open loop's that were due in the measured time,
            whenever their answers came, and a closed loop's that ended in it.
        finished: How many answers came in the measured time.
        seconds: Length of the measured time.
        began: Its beginning, a monotonic second of this machine.
        cpus_s: CPU seconds of each client process in it.
        texts: How many texts were answered in it.
    """

    samples: Samples
    finished: int
    seconds: float
    began: float
    cpus_s: tuple[float, ...]
    texts: int

    @staticmethod
    def of(found: Sequence[tuple[dict[str, float], Samples]], *, closed: bool) -> "Outcome":
        """Puts the processes' results together."""
        all_samples = np.sort(np.concatenate([part for _, part in found]), order="due")
        seconds = max(facts["seconds"] for facts, _ in found)
        decisive = all_samples["ended" if closed else "due"]
        counts = (decisive >= 0) & (decisive < seconds)
        came = all_samples[(all_samples["ended"] >= 0) & (all_samples["ended"] < seconds)]
        return Outcome(
            all_samples[counts],
            int((came["status"] == 0).sum()),
            seconds,
            found[0][0]["began"],
            tuple(facts["cpu_s"] for facts, _ in found),
            int(came["texts"].sum()),
        )

    @property
    def answers(self) -> Samples:
        """The samples that are answers."""
        return cast(Samples, self.samples[self.samples["status"] == 0])

    @property
    def latencies_s(self) -> NDArray[np.float64]:
        """float64 (answers,): from when a request was due, however late it was sent."""
        return cast(NDArray[np.float64], self.answers["ended"] - self.answers["due"])

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.finished / self.seconds

    @property
    def texts_per_s(self) -> float:
        """Answered texts a second."""
        return self.texts / self.seconds

    @property
    def cpu_share(self) -> float:
        """Cores that the clients kept busy."""
        return sum(self.cpus_s) / self.seconds

    @property
    def cpu_ms_per_request(self) -> float:
        """CPU milliseconds of the clients for each answer."""
        return sum(self.cpus_s) * 1e3 / max(self.finished, 1)

    @property
    def failures(self) -> dict[str, int]:
        """How many calls failed, by the name of their status."""
        failed = self.samples["status"][self.samples["status"] != 0].tolist()
        return dict(Counter(_STATUSES.get(code, str(code)) for code in failed))

    @property
    def served(self) -> dict[str, int]:
        """How often each "version.revision" answered."""
        pairs = self.answers[["version", "revision"]].tolist()
        return dict(Counter(f"{version}.{revision}" for version, revision in pairs))


class Load:
    """Clients that ask from the end of construction on; `wait` for their end, or `stop` them early.

    Raises:
        BenchError: A client could not reach the server.
    """

    def __init__(self, job: Job) -> None:
        self._closed = isinstance(job.profile, ClosedLoop)
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            parts = shares(job)
            self._processes.extend(_started(job.client) for _ in parts)
            for process, (part, offsets) in zip(self._processes, parts, strict=True):
                samples.write(_input(process), asdict(part), offsets)
            for process in self._processes:
                if _output(process).readline() != b"ready\n":
                    raise BenchError(f"a load client could not reach {job.target}")
            start = monotonic() + _HEAD_START_S
            for process in self._processes:
                _input(process).write(f"{start}\n".encode())
                _input(process).flush()
            Event().wait(start - monotonic())
        except BaseException:
            self._kill()
            raise

    def wait(self) -> Outcome:
        """Waits until they are done and returns what they saw."""
        found = [samples.read(_output(process), SAMPLE) for process in self._processes]
        self._reap()
        return Outcome.of(found, closed=self._closed)

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


def shares(job: Job) -> list[tuple[Part, Times]]:
    """Each process's part and when its requests are due; together they do what the job says.

    One schedule is dealt out in turn, so that it does not depend on the number of processes.
    """
    profile, processes = job.profile, job.processes
    if isinstance(profile, ClosedLoop):
        processes = min(processes, profile.concurrency)
        places: list[int | None] = [
            len(range(n, profile.concurrency, processes)) for n in range(processes)
        ]
        schedule: Times = np.empty(0)
    else:
        places = [None] * processes
        schedule = profile.arrivals(job.warm_s, job.seed)
    # Each process knows only its own requests: that so many of them are late is enough.
    most_over = None if job.bound_s is None else int(_MAY_EXCEED * (schedule >= 0).sum())
    return [
        (
            Part(
                job.target, job.requests, n, processes, places[n], job.stream,
                job.warm_s, profile.seconds, job.timeout_s, job.bound_s, most_over, job.throttle,
            ),
            schedule[n::processes],
        )
        for n in range(processes)
    ]  # fmt: skip


def run_load(job: Job) -> Outcome:
    """Does a job from start to end."""
    with Load(job) as load:
        return load.wait()


def _started(client: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", client],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _input(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None, "stdin is a pipe"
    return process.stdin


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None, "stdout is a pipe"
    return process.stdout
