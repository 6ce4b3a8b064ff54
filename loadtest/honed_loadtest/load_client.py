"""One load client: a process that asks a server when it is due, and notes every answer.

Run by `load.py`. It reads its part of a job from its standard input, says "ready" when its
connection is up, reads when to start, and writes its samples. It is lean, since it may share its
cores with the server: requests are serialised beforehand, one thread sends and receives
(`http2.py`), and answers are parsed afterwards.
"""

import gc
import select
import sys
from collections import deque
from dataclasses import dataclass
from itertools import repeat
from math import inf
from time import monotonic, process_time

import numpy as np

from honed._throttle import Throttles
from honed_loadtest import samples
from honed_loadtest.arrivals import Times
from honed_loadtest.calls import (
    DEADLINE_EXCEEDED,
    OK,
    RESOURCE_EXHAUSTED,
    Calls,
    StreamedCalls,
    UnaryCalls,
)
from honed_loadtest.http2 import UNKNOWN, Connection
from honed_loadtest.samples import SAMPLE, Samples
from honed_proto.v1 import inference_pb2 as pb

_CONNECT_S = 10
# What the server has in work of one stream. More would only grow old in the transport, so that the
# client of an open loop refuses it, as one that answers to somebody would.
_STREAM_WINDOW = 64
_OVERLOAD = (RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED)


@dataclass(frozen=True, slots=True)
class Part:
    """What one client process does of a job.

    Attributes:
        target: Address of the server.
        questions: (model, texts) of each request, in turn for ever.
        number: Which of the processes this is, from 0.
        of: How many processes there are; together they ask all questions in turn.
        concurrency: Requests that may be under way at a time, None for an open loop.
        stream: Whether they share one bidirectional stream.
        warm_s: Seconds before anything counts.
        seconds: Seconds that count.
        timeout_s: Deadline of each request.
        bound_s: A latency that only some may exceed.
        most_over: How many may; the process stops asking when more do. None: any number.
        throttle: Whether it holds calls of an open loop back as the SDK does.
    """

    target: str
    questions: list[tuple[str, list[str]]]
    number: int
    of: int
    concurrency: int | None
    stream: bool
    warm_s: float
    seconds: float
    timeout_s: float
    bound_s: float | None = None
    most_over: int | None = None
    throttle: bool = False


@dataclass(slots=True)
class _Asked:
    question: int
    due: float
    sent: float
    ended: float = 0.0
    status: int = OK
    reply: bytes = b""


class _Clock:
    """The time that counts, and the CPU seconds of this process in it."""

    def __init__(self, began: float, seconds: float) -> None:
        self.began, self.seconds = began, seconds
        self.cpu_s = 0.0
        self.next = began
        self.over = False

    def tick(self, now: float) -> None:
        """Notes the CPU time where the time that counts begins and ends."""
        if self.next == self.began and now >= self.next:
            self.cpu_s, self.next = -process_time(), self.began + self.seconds
        if now >= self.next:
            self.stop(now)

    def stop(self, now: float) -> None:
        """Ends it now, if it has not ended."""
        if not self.over:
            self.over, self.next = True, inf
            self.cpu_s += process_time()
            self.seconds = min(now - self.began, self.seconds)


class _Client:
    """Asks and listens in one loop."""

    def __init__(self, part: Part, offsets: Times, connection: Connection) -> None:
        self._part, self._offsets, self._connection = part, offsets, connection
        self._requests = [
            pb.PredictRequest(model=model, texts=texts).SerializeToString()
            for model, texts in part.questions
        ]
        self._calls: Calls = (
            StreamedCalls(connection) if part.stream else UnaryCalls(connection, part.timeout_s)
        )
        self._places = part.concurrency or (_STREAM_WINDOW if part.stream else len(offsets))
        self._throttle = Throttles(part.throttle).of(pb.PredictRequest())
        self._question = part.number
        self._due: deque[float] = deque()
        self._under_way: dict[int, _Asked] = {}  # oldest first
        self._over: list[_Asked] = []
        self._began, self._late = 0.0, 0

    def run(self, start: float) -> tuple[dict[str, float], Samples]:
        """Asks from `start` on, a monotonic second, until all is done or the input is closed."""
        clock = _Clock(start + self._part.warm_s, self._part.seconds)
        self._began = clock.began
        closed_loop, listened_to = self._part.concurrency is not None, [self._connection, sys.stdin]
        self._due.extend((clock.began + self._offsets).tolist())
        if closed_loop:
            self._due.extend(repeat(start, self._places))
        while not clock.over or self._due or self._under_way:
            wait_s = max(self._next(clock) - monotonic(), 0)
            ready, _, _ = select.select(listened_to, [], [], wait_s)
            now = monotonic()
            clock.tick(now)
            ended = self._receive(now) if self._connection in ready else 0
            ended += self._expire(now)
            if sys.stdin in ready:
                listened_to.remove(sys.stdin)
            if sys.stdin in ready or self._hopeless:
                clock.stop(now)
                self._due.clear()
            if closed_loop and not clock.over:
                self._due.extend(repeat(now, ended))
            # What was due is sent, however late: leaving it out would make a slow server look fast.
            self._send()
        facts = {"began": clock.began, "seconds": clock.seconds, "cpu_s": clock.cpu_s}
        return facts, _sampled(self._over, clock.began)

    def _next(self, clock: _Clock) -> float:
        """When there is something to do although nothing has come from the server."""
        at = clock.next
        if self._due:
            at = min(at, self._due[0])
        if self._under_way:
            at = min(at, next(iter(self._under_way.values())).sent + self._part.timeout_s)
        return at

    @property
    def _hopeless(self) -> bool:
        return self._part.most_over is not None and self._late > self._part.most_over

    def _send(self) -> None:
        while self._due and (now := monotonic()) >= self._due[0]:
            asked = _Asked(self._question % len(self._requests), self._due.popleft(), now)
            self._question = asked.question + self._part.of
            if len(self._under_way) < self._places and self._throttle.admits():
                self._under_way[self._calls.send(self._requests[asked.question])] = asked
            else:
                self._end(asked, now, RESOURCE_EXHAUSTED)

    def _receive(self, now: float) -> int:
        """Notes what has ended and says how much that is."""
        before = len(self._over)
        for number, status, reply in self._calls.receive():
            self._throttle.note(status not in _OVERLOAD)
            self._end(self._under_way.pop(number), now, status, reply)
        return len(self._over) - before

    def _expire(self, now: float) -> int:
        """Gives up what has passed its deadline, and says how much that is."""
        before, oldest = len(self._over), now - self._part.timeout_s
        while self._under_way:
            number, asked = next(iter(self._under_way.items()))
            if asked.sent > oldest:
                break
            self._calls.give_up(number)
            self._throttle.note(False)
            self._end(self._under_way.pop(number), now, DEADLINE_EXCEEDED)
        return len(self._over) - before

    def _end(self, asked: _Asked, now: float, status: int, reply: bytes = b"") -> None:
        asked.ended, asked.status, asked.reply = now, status, reply
        if asked.due >= self._began and self._part.bound_s is not None:
            self._late += status != OK or now - asked.due > self._part.bound_s
        self._over.append(asked)


def _sampled(over: list[_Asked], began: float) -> Samples:
    found = np.zeros(len(over), SAMPLE)
    for row, asked in zip(found, over, strict=True):
        row["question"] = asked.question
        row["due"] = asked.due - began
        row["sent"] = asked.sent - began
        row["ended"] = asked.ended - began
        row["status"] = asked.status
        if asked.status == OK:
            _read(row, pb.PredictResponse.FromString(asked.reply))
    return found


def _read(row: np.void, reply: pb.PredictResponse) -> None:
    """What the reply says: of its first text, and how many were answered."""
    failed = [item.error.code for item in reply.items if item.error.code]
    row["status"] = reply.error.code or next(iter(failed), OK if reply.items else UNKNOWN)
    row["texts"] = len(reply.items) - len(failed)
    if reply.items:
        first = reply.items[0].prediction
        row["version"] = first.version
        row["revision"] = first.revision
        row["queued_s"] = first.queue_time.ToNanoseconds() / 1e9
        row["computed_s"] = first.compute_time.ToNanoseconds() / 1e9


def main() -> None:
    """Does one part of a job."""
    facts, offsets = samples.read(sys.stdin.buffer, np.dtype(np.float64))
    part = Part(**facts)
    try:
        connection = Connection(part.target, _CONNECT_S)
    except OSError:
        return  # the parent says so
    client = _Client(part, offsets, connection)
    # A collection would look like a slow answer.
    gc.freeze()
    gc.disable()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    found = client.run(float(sys.stdin.buffer.readline()))
    connection.close()
    samples.write(sys.stdout.buffer, *found)


if __name__ == "__main__":
    main()
