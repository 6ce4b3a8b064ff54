"""`AsyncClient.predict_stream`: `_stream.py` with tasks in the place of threads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine, Iterable
from contextlib import suppress
from typing import Any

import grpc

from honed._connection import AsyncConnection, closed
from honed._rpcs import PREDICT_STREAM
from honed._window import Outcome, Window, stream_ended
from honed.errors import HonedError
from honed_proto.v1 import inference_pb2

# What grpc.aio may report in the place of the server's status if a stream ends during a write
# (grpc/grpc#36066).
_LOST_STATUS = "Internal error from Core"


async def answer_each_async(
    connection: AsyncConnection, window: Window, texts: Iterable[str] | AsyncIterable[str]
) -> AsyncGenerator[Outcome, None]:
    """Yields the outcome of each text in order; closing it ends the stream."""
    flow = _AsyncFlow(connection, window, texts)
    try:
        async for outcome in flow.outcomes():
            yield outcome
    finally:
        await flow.close()


async def _each(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text


class _AsyncFlow:
    """What the tasks share, under one condition."""

    def __init__(
        self,
        connection: AsyncConnection,
        window: Window,
        texts: Iterable[str] | AsyncIterable[str],
    ) -> None:
        self._connection = connection
        self._window = window
        self._texts = texts
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: Any = None
        self._attempt = 0  # which stream is the present one
        self._broken: HonedError | None = None
        self._read_all = False
        self._read_error: Exception | None = None

    async def outcomes(self) -> AsyncIterator[Outcome]:
        """Yields in the caller's task; raises what the caller's iterator raised, in its turn."""
        self._start(self._read())
        await self._open()
        while True:
            async with self._changed:
                outcome = self._window.pop()
                finished = self._read_all and self._window.is_empty
                if outcome is None and not finished and self._broken is None:
                    await self._wait(self._window.patience_s())
                    continue
                self._changed.notify_all()  # there is room for another text
                broken = self._broken
            if outcome is not None:
                yield outcome
            elif finished:
                break
            elif broken is not None:
                await asyncio.sleep(self._window.retry_in_s(broken))
                await self._open()
        if self._read_error is not None:
            raise self._read_error

    async def close(self) -> None:
        """Ends the stream and the tasks."""
        self._attempt += 1
        if self._stream is not None:
            self._stream.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, timeout_s: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    async def _open(self) -> None:
        async with self._changed:
            self._broken = None
            self._attempt += 1
            self._changed.notify_all()  # the sender of the stream before ends
        self._stream = self._connection.stream(PREDICT_STREAM, self._requests(self._attempt), None)
        self._start(self._receive(self._stream, self._attempt))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(work))

    async def _read(self) -> None:
        texts = _each(self._texts)
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._window.has_room)
                text = await anext(texts)
                async with self._changed:
                    self._window.add(text)
                    self._changed.notify_all()
        except StopAsyncIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the caller's own, raised in its task
            self._read_error = error
        async with self._changed:
            self._read_all = True
            self._changed.notify_all()

    async def _requests(self, attempt: int) -> AsyncIterator[inference_pb2.PredictRequest]:
        number = -1
        while (found := await self._wait_for_request(number, attempt)) is not None:
            number, request = found
            if hold_s := self._window.hold_s():
                await asyncio.sleep(hold_s)
            yield request

    async def _wait_for_request(
        self, number: int, attempt: int
    ) -> tuple[int, inference_pb2.PredictRequest] | None:
        async with self._changed:
            while attempt == self._attempt:
                found = self._window.request_after(number)
                if found is not None or self._read_all:
                    return found
                await self._changed.wait()
        return None

    async def _receive(self, stream: Any, attempt: int) -> None:
        error = stream_ended()
        try:
            async for response in stream:
                async with self._changed:
                    self._window.answer(response)
                    self._changed.notify_all()
        except grpc.aio.AioRpcError as failure:
            if failure.details() != _LOST_STATUS:
                error = self._connection.error(failure, PREDICT_STREAM, None)
        except asyncio.CancelledError:
            error = closed()
        async with self._changed:
            if attempt == self._attempt:
                self._broken = error
                self._changed.notify_all()
