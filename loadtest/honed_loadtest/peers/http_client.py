"""One HTTP/1.1 load client: `load_client.py` for the peers that speak HTTP, as lean as that.

Run by `load.py`. A closed loop only: a connection for each request that may be under way, requests
written out beforehand, one thread that sends and receives. A question is a path and a JSON body.
"""

import gc
import os
import select
import socket
import sys
from dataclasses import dataclass
from time import monotonic, sleep

import numpy as np

from honed_loadtest import samples
from honed_loadtest.calls import DEADLINE_EXCEEDED, OK
from honed_loadtest.http2 import UNAVAILABLE, UNKNOWN
from honed_loadtest.load_client import Part
from honed_loadtest.samples import SAMPLE, Samples

_CONNECT_S = 10
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Answer:
    question: int
    sent: float
    ended: float
    status: int


class _Place:
    """A connection and what was asked on it last."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = socket.create_connection(address, _CONNECT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reply = b""
        self.question, self.sent = 0, 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, question: int, request: bytes) -> None:
        self.question, self.sent, self._reply = question, monotonic(), b""
        self._socket.sendall(request)

    def receive(self) -> int | None:
        """The gRPC status that says how the request ended, None if it has not."""
        try:
            read = self._socket.recv(_READ_BYTES)
        except ConnectionError:
            read = b""
        self._reply += read
        if not read:
            return UNAVAILABLE
        if not is_whole(self._reply):
            return None
        return OK if self._reply.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) else UNKNOWN

    def close(self) -> None:
        self._socket.close()


def is_whole(reply: bytes) -> bool:
    """Whether the bytes hold a whole HTTP/1.1 response with a length, or one in chunks."""
    head, end, body = reply.partition(b"\r\n\r\n")
    if not end:
        return False
    head = head.lower()
    _, found, rest = head.partition(b"content-length:")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n")


def request(target: str, path: str, body: str) -> bytes:
    """A POST of a JSON body."""
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class _Client:
    def __init__(self, part: Part) -> None:
        self._part = part
        host, _, port = part.target.rpartition(":")
        self._address = host, int(port)
        self._requests = [request(part.target, path, body) for path, (body,) in part.questions]
        self._question = part.number
        self._events, self._places = select.epoll(), dict[int, _Place]()
        assert part.concurrency is not None, "peers are measured in closed loops"
        for _ in range(part.concurrency):
            self._connect()
        self._answers: list[_Answer] = []

    def run(self, start: float) -> tuple[dict[str, float], Samples]:
        """Asks from `start` on, a monotonic second, until the time is over."""
        began = start + self._part.warm_s
        sleep(max(start - monotonic(), 0))
        for place in self._places.values():
            self._ask(place)
        self._serve(began, asking=True)
        busy_s = -_cpu_s()
        self._serve(began + self._part.seconds, asking=True)
        busy_s += _cpu_s()
        self._serve(monotonic() + self._part.timeout_s, asking=False)
        facts = {"began": began, "seconds": self._part.seconds, "cpu_s": busy_s}
        return facts, _sampled(self._answers, began)

    def _serve(self, until: float, *, asking: bool) -> None:
        """Notes answers until then; asks again after each, or waits for what is under way."""
        while self._places and (left_s := until - monotonic()) > 0:
            for number, _ in self._events.poll(left_s):
                place = self._places[number]
                status = place.receive()
                if status is not None:
                    self._end(place, status, asking)
        if not asking:
            for place in self._places.values():
                self._note(place, DEADLINE_EXCEEDED)

    def _end(self, place: _Place, status: int, asking: bool) -> None:
        self._note(place, status)
        if status == UNAVAILABLE or not asking:
            del self._places[place.fileno()]
            place.close()
            place = self._connect() if asking else place
        if asking:
            self._ask(place)

    def _connect(self) -> _Place:
        place = _Place(self._address)
        self._events.register(place, select.EPOLLIN)
        self._places[place.fileno()] = place
        return place

    def _ask(self, place: _Place) -> None:
        question = self._question % len(self._requests)
        self._question = question + self._part.of
        place.ask(question, self._requests[question])

    def _note(self, place: _Place, status: int) -> None:
        self._answers.append(_Answer(place.question, place.sent, monotonic(), status))


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _sampled(answers: list[_Answer], began: float) -> Samples:
    found = np.zeros(len(answers), SAMPLE)
    for row, answer in zip(found, answers, strict=True):
        row["question"], row["status"] = answer.question, answer.status
        row["due"] = row["sent"] = answer.sent - began
        row["ended"] = answer.ended - began
        row["texts"] = answer.status == OK
    return found


def main() -> None:
    """Does one part of a job."""
    facts, _ = samples.read(sys.stdin.buffer, np.dtype(np.float64))
    try:
        client = _Client(Part(**facts))
    except OSError:
        return  # the parent says so
    # A collection would look like a slow answer.
    gc.freeze()
    gc.disable()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    samples.write(sys.stdout.buffer, *client.run(float(sys.stdin.buffer.readline())))


if __name__ == "__main__":
    main()
