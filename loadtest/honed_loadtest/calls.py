"""How the requests of a load client travel: in a call each, or all in one bidirectional stream."""

from collections.abc import Iterator
from typing import Protocol

from honed_loadtest.http2 import UNAVAILABLE, Connection
from honed_proto.v1 import inference_pb2 as pb

PREDICT, PREDICT_STREAM = "/honed.v1.Inference/Predict", "/honed.v1.Inference/PredictStream"
OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 4, 8

Ended = tuple[int, int, bytes]
"""Number of a request, the gRPC status of its call, and the reply."""


class Calls(Protocol):
    """Sends requests, which are known by a number until they have ended."""

    def send(self, request: bytes) -> int:
        """Sends a serialised PredictRequest and returns its number."""
        ...

    def receive(self) -> Iterator[Ended]:
        """Reads once from the connection and yields what has ended."""
        ...

    def give_up(self, number: int) -> None:
        """Takes no more interest in a request."""
        ...


class UnaryCalls:
    """One call a request.

    Args:
        connection: Carries them.
        timeout_s: Deadline of each.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._headers = connection.headers(PREDICT, timeout_s)
        self._replies: dict[int, bytes] = {}

    def send(self, request: bytes) -> int:
        """See `Calls`."""
        return self._connection.call(self._headers, request)

    def receive(self) -> Iterator[Ended]:
        """See `Calls`."""
        for number, found in self._connection.receive():
            if isinstance(found, bytes):
                self._replies[number] = found
            else:
                yield number, found, self._replies.pop(number, b"")

    def give_up(self, number: int) -> None:
        """Cancels the call."""
        self._replies.pop(number, None)
        self._connection.cancel(number)


class StreamedCalls:
    """One call for all requests; each answer repeats the `request_id` of its request.

    Args:
        connection: Carries it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._headers = connection.headers(PREDICT_STREAM)
        self._call: int | None = None
        self._number = 0
        self._waiting: set[int] = set()

    def send(self, request: bytes) -> int:
        """See `Calls`."""
        self._number += 1
        name = str(self._number).encode()
        # A serialised message may be continued: this is `request_id`, a text.
        message = request + bytes([pb.PredictRequest.REQUEST_ID_FIELD_NUMBER << 3 | 2, len(name)])
        message += name
        if self._call is None:
            self._call = self._connection.call(self._headers, message, last=False)
        else:
            self._connection.more(self._call, message)
        self._waiting.add(self._number)
        return self._number

    def receive(self) -> Iterator[Ended]:
        """See `Calls`; when the stream ends, so has all that waits."""
        for call, found in self._connection.receive():
            if isinstance(found, bytes):
                number = int(pb.PredictResponse.FromString(found).request_id)
                if number in self._waiting:
                    self._waiting.remove(number)
                    yield number, OK, found
            elif call == self._call:
                self._call = None
                yield from ((number, found or UNAVAILABLE, b"") for number in self._waiting)
                self._waiting.clear()

    def give_up(self, number: int) -> None:
        """Ignores the answer: a request of a stream cannot be cancelled by itself."""
        self._waiting.discard(number)
