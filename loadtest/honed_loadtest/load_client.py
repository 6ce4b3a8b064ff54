"""One load client: a process whose blocking threads ask a server and note every answer.

Run by `load.py`. It reads a job from its standard input, says "ready" when its channel is up, reads
when to start, and prints one JSON result. It is lean, since it shares its cores with the server:
requests are serialised beforehand and answers parsed afterwards.
"""

import json
import os
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from time import monotonic

import grpc

from honed_loadtest import arrivals
from honed_proto.v1 import inference_pb2 as pb

PREDICT = "/honed.v1.Inference/Predict"
_CONNECT_S = 10
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Job:
    """What clients do; `load.py` shares it out among their processes.

    Attributes:
        target: Address of the server.
        model: Model to ask.
        texts: Texts, one a request, in turn for ever.
        threads: Requests that may be under way at a time.
        rate: Mean requests a second, sent when they are due (open loop, Poisson); None sends the
            next when an answer came (closed loop).
        warm_s: Seconds before anything counts.
        seconds: Seconds that count.
        seed: Of the arrival times.
        processes: How many client processes do it together.
    """

    target: str
    model: str
    texts: list[str]
    threads: int
    rate: float | None
    warm_s: float
    seconds: float
    seed: int
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What one client process saw between the end of the warm-up and the end.

    Attributes:
        latencies_s: Of the answers that arrived in that time; an open loop's from when they were
            due, however late they were sent.
        queued_s: Of the same answers, what the server says they waited for the engine.
        computed_s: What it says that their batch took.
        failures: How many calls failed, by status.
        served: How often each "version.revision" answered.
        cpu_s: CPU seconds of this process.
        seconds: Length of that time.
    """

    latencies_s: list[float]
    queued_s: list[float]
    computed_s: list[float]
    failures: dict[str, int]
    served: dict[str, int]
    cpu_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Sample:
    due: float
    ended: float
    reply: bytes
    failure: str


_Ticket = tuple[bytes, float | None]
_Call = Callable[[bytes], bytes]


def _tickets(job: Job, start: float, stop: threading.Event) -> Iterator[_Ticket]:
    """Each request with the time at which it is due, None for at once."""
    requests = cycle(
        [pb.PredictRequest(model=job.model, texts=[t]).SerializeToString() for t in job.texts]
    )
    length_s = job.warm_s + job.seconds
    if job.rate is None:
        while monotonic() < start + length_s and not stop.is_set():
            yield next(requests), None
        return
    for offset in arrivals.poisson(job.rate, length_s, job.seed):
        if stop.is_set():
            return
        yield next(requests), start + float(offset)


def _ask(
    call: _Call,
    tickets: Iterator[_Ticket],
    lock: threading.Lock,
    stop: threading.Event,
    samples: list[_Sample],
) -> None:
    """One thread: takes the next request, waits until it is due, and notes what came of it."""
    while True:
        with lock:
            ticket = next(tickets, None)
        if ticket is None:
            return
        request, due = ticket
        if due is None:
            due = monotonic()
        elif stop.wait(max(due - monotonic(), 0)):
            return
        reply, failure = b"", ""
        try:
            reply = call(request)
        except grpc.RpcError as error:
            failure = error.code().name
        samples.append(_Sample(due, monotonic(), reply, failure))


def _run(job: Job, call: _Call, start: float) -> Result:
    stop, lock = threading.Event(), threading.Lock()
    samples: list[_Sample] = []
    tickets = _tickets(job, start, stop)
    threads = [
        threading.Thread(target=_ask, args=(call, tickets, lock, stop, samples))
        for _ in range(job.threads)
    ]
    _input_closed(start)
    for thread in threads:
        thread.start()
    began, cpu_s = start + job.warm_s, 0.0
    if not _input_closed(began):
        cpu_s = -_cpu_s()
        _input_closed(began + job.seconds)
        cpu_s += _cpu_s()
    ended = monotonic()
    stop.set()
    for thread in threads:
        thread.join()
    return _result([s for s in samples if began <= s.ended <= ended], cpu_s, ended - began)


def _input_closed(until: float) -> bool:
    """Waits until then, or until the parent closes the input: it wants no more."""
    return bool(select.select([sys.stdin], [], [], max(until - monotonic(), 0))[0])


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _result(samples: list[_Sample], cpu_s: float, seconds: float) -> Result:
    failures, served = Counter[str](), Counter[str]()
    latencies, queued, computed = list[float](), list[float](), list[float]()
    for sample in samples:
        if sample.failure:
            failures[sample.failure] += 1
            continue
        (item,) = pb.PredictResponse.FromString(sample.reply).items
        if item.HasField("error"):
            failures[f"ITEM_{item.error.code}"] += 1
            continue
        answer = item.prediction
        served[f"{answer.version}.{answer.revision}"] += 1
        latencies.append(sample.ended - sample.due)
        queued.append(answer.queue_time.ToNanoseconds() / 1e9)
        computed.append(answer.compute_time.ToNanoseconds() / 1e9)
    return Result(latencies, queued, computed, dict(failures), dict(served), cpu_s, seconds)


def main() -> None:
    """Does one job."""
    job = Job(**json.loads(sys.stdin.readline()))
    with grpc.insecure_channel(job.target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        grpc.channel_ready_future(channel).result(_CONNECT_S)
        predict: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        start = float(sys.stdin.readline())
        result = _run(job, lambda request: predict(request, timeout=_TIMEOUT_S), start)
    sys.stdout.write(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
