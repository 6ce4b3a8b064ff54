"""One load client: a process that asks a server when it is due, and notes every answer.

Run by `load.py`. It reads its part of a job from its standard input, says "ready" when its channel
is up, reads when to start, and writes its samples. It is lean, since it may share its cores with
the server: requests are serialised beforehand, one thread sends them without waiting for answers,
gRPC's own thread notes when an answer came, and answers are parsed afterwards.
"""

import gc
import os
import select
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
import numpy as np

from honed_loadtest import samples
from honed_loadtest.arrivals import Times
from honed_loadtest.samples import SAMPLE, Samples
from honed_proto.v1 import inference_pb2 as pb

PREDICT = "/honed.v1.Inference/Predict"
_CONNECT_S = 10


@dataclass(frozen=True, slots=True)
class Part:
    """What one client process does of a job.

    Attributes:
        target: Address of the server.
        questions: (model, text) of each request, in turn for ever.
        number: Which of the processes this is, from 0.
        of: How many processes there are; together they ask all questions in turn.
        concurrency: Requests that may be under way at a time, None for an open loop.
        warm_s: Seconds before anything counts.
        seconds: Seconds that count.
        timeout_s: Deadline of each request.
    """

    target: str
    questions: list[tuple[str, str]]
    number: int
    of: int
    concurrency: int | None
    warm_s: float
    seconds: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    question: int
    due: float
    sent: float
    ended: float
    status: int
    reply: bytes


class _Client:
    """Asks from one thread; the answers come in on another, gRPC's."""

    def __init__(self, part: Part, offsets: Times, call: Any) -> None:
        self._part, self._offsets, self._call = part, offsets, call
        self._requests = [
            pb.PredictRequest(model=model, texts=[text]).SerializeToString()
            for model, text in part.questions
        ]
        # One for each request that may be under way: for each that there is, in an open loop.
        self._places = len(offsets) if part.concurrency is None else part.concurrency
        self._free = threading.Semaphore(self._places)
        self._stop = threading.Event()
        self._answers: list[_Answer] = []

    def run(self, start: float) -> tuple[dict[str, float], Samples]:
        """Asks from `start` on, a monotonic second, until all is done or the input is closed."""
        began = start + self._part.warm_s
        asking = threading.Thread(target=self._ask_all, args=(began,))
        asking.start()
        unwanted, busy_s = _input_closed(began), -_cpu_s()
        unwanted = unwanted or _input_closed(began + self._part.seconds)
        busy_s += _cpu_s()
        seconds = min(monotonic() - began, self._part.seconds)
        # What was due is sent, however late: to leave it out would make a slow server look fast.
        if unwanted or self._part.concurrency is not None:
            self._stop.set()
        asking.join()
        for _ in range(self._places):
            self._free.acquire()
        facts = {"began": began, "seconds": seconds, "cpu_s": busy_s}
        return facts, _sampled(self._answers, began)

    def _ask_all(self, began: float) -> None:
        question = self._part.number
        for due in self._due(began):
            question %= len(self._requests)
            self._ask(question, due)
            question += self._part.of

    def _due(self, began: float) -> Iterator[float]:
        """Yields each request's time when it has come: its schedule's, or that of a free place."""
        if self._part.concurrency is None:
            for offset in self._offsets.tolist():
                due = began + offset
                if self._stop.wait(max(due - monotonic(), 0)):
                    return
                self._free.acquire()
                yield due
            return
        while not self._stop.is_set():
            self._free.acquire()
            yield monotonic()

    def _ask(self, question: int, due: float) -> None:
        sent = monotonic()

        def note(call: Any) -> None:
            ended, code = monotonic(), call.code()
            reply = call.result() if code is grpc.StatusCode.OK else b""
            self._answers.append(_Answer(question, due, sent, ended, code.value[0], reply))
            self._free.release()

        self._call.future(self._requests[question], timeout=self._part.timeout_s).add_done_callback(
            note
        )


def _input_closed(until: float) -> bool:
    """Waits until then, or until the parent closes the input: it wants no more."""
    return bool(select.select([sys.stdin], [], [], max(until - monotonic(), 0))[0])


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _sampled(answers: list[_Answer], began: float) -> Samples:
    found = np.zeros(len(answers), SAMPLE)
    for row, answer in zip(found, answers, strict=True):
        row["question"] = answer.question
        row["due"] = answer.due - began
        row["sent"] = answer.sent - began
        row["ended"] = answer.ended - began
        row["status"] = answer.status
        if answer.status:
            continue
        (item,) = pb.PredictResponse.FromString(answer.reply).items
        row["status"] = item.error.code
        row["version"] = item.prediction.version
        row["revision"] = item.prediction.revision
        row["queued_s"] = item.prediction.queue_time.ToNanoseconds() / 1e9
        row["computed_s"] = item.prediction.compute_time.ToNanoseconds() / 1e9
    return found


def main() -> None:
    """Does one part of a job."""
    facts, offsets = samples.read(sys.stdin.buffer, np.dtype(np.float64))
    part = Part(**facts)
    with grpc.insecure_channel(part.target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(_CONNECT_S)
        except grpc.FutureTimeoutError:
            return  # the parent says so
        client = _Client(part, offsets, channel.unary_unary(PREDICT))
        # A collection would look like a slow answer.
        gc.freeze()
        gc.disable()
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.flush()
        found = client.run(float(sys.stdin.buffer.readline()))
    samples.write(sys.stdout.buffer, *found)


if __name__ == "__main__":
    main()
