"""`Client.predict_stream`: one bidirectional stream, three threads, answers in order.

A reader takes texts from the caller's iterator while `Window` has room, gRPC's own thread sends
them, and a receiver takes the answers. The caller's thread hands them out, and opens the stream
again if it breaks: a prediction may be repeated.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import grpc

from honed._connection import Connection
from honed._rpcs import PREDICT_STREAM
from honed._window import Outcome, Window, stream_ended
from honed.errors import HonedError
from honed_proto.v1 import inference_pb2


def answer_each(
    connection: Connection, window: Window, texts: Iterable[str]
) -> Generator[Outcome, None, None]:
    """Yields the outcome of each text in order; closing it ends the stream."""
    flow = _Flow(connection, window, texts)
    try:
        yield from flow.outcomes()
    finally:
        flow.close()


class _Flow:
    """What the threads share, under one condition."""

    def __init__(self, connection: Connection, window: Window, texts: Iterable[str]) -> None:
        self._connection = connection
        self._window = window
        self._texts = texts
        self._changed = threading.Condition()
        self._stream: grpc.Call | None = None
        self._attempt = 0  # which stream is the present one
        self._broken: HonedError | None = None
        self._read_all = False
        self._read_error: Exception | None = None
        self._closed = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yields in the caller's thread; raises what the caller's iterator raised, in its turn."""
        self._start(self._read)
        self._open()
        while True:
            with self._changed:
                outcome = self._window.pop()
                finished = self._read_all and self._window.is_empty
                if outcome is None and not finished and self._broken is None:
                    self._changed.wait(self._window.patience_s())
                    continue
                self._changed.notify_all()  # there is room for another text
                broken = self._broken
            if outcome is not None:
                yield outcome
            elif finished:
                break
            elif broken is not None:
                time.sleep(self._window.retry_in_s(broken))
                self._open()
        if self._read_error is not None:
            raise self._read_error

    def close(self) -> None:
        """Ends the stream and the threads, but for one that waits for the caller's iterator."""
        with self._changed:
            self._closed = True
            self._attempt += 1
            self._changed.notify_all()
        if self._stream is not None:
            self._stream.cancel()

    def _open(self) -> None:
        with self._changed:
            self._broken = None
            self._attempt += 1
            self._changed.notify_all()  # the sender of the stream before ends
            attempt = self._attempt
        stream = self._connection.stream(PREDICT_STREAM, self._requests(attempt), None)
        self._stream = stream
        self._start(self._receive, stream, attempt)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True, name="honed-stream").start()

    def _read(self) -> None:
        texts = iter(self._texts)
        try:
            while self._wait_for_room():
                text = next(texts)
                with self._changed:
                    self._window.add(text)
                    self._changed.notify_all()
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the caller's own, raised in its thread
            self._read_error = error
        with self._changed:
            self._read_all = True
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._window.has_room)
            return not self._closed

    def _requests(self, attempt: int) -> Iterator[inference_pb2.PredictRequest]:
        number = -1
        while (found := self._wait_for_request(number, attempt)) is not None:
            number, request = found
            if hold_s := self._window.hold_s():
                time.sleep(hold_s)
            yield request

    def _wait_for_request(
        self, number: int, attempt: int
    ) -> tuple[int, inference_pb2.PredictRequest] | None:
        with self._changed:
            while attempt == self._attempt:
                found = self._window.request_after(number)
                if found is not None or self._read_all:
                    return found
                self._changed.wait()
        return None

    def _receive(self, stream: Any, attempt: int) -> None:
        error = stream_ended()
        try:
            for response in stream:
                with self._changed:
                    self._window.answer(response)
                    self._changed.notify_all()
        except grpc.RpcError as failure:
            error = self._connection.error(failure, PREDICT_STREAM, None)
        with self._changed:
            if attempt == self._attempt:
                self._broken = error
                self._changed.notify_all()
