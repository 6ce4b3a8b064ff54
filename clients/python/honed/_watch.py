"""What happens to models, event by event, for both clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import grpc

from honed._connection import AsyncConnection, Connection, closed, is_cancelled
from honed._convert import event_from
from honed._rpcs import WATCH
from honed.types import ModelEvent
from honed_proto.v1 import models_pb2


class Watch(Iterator[ModelEvent]):
    """What happens to models, event by event; iterate it, and close it when done.

    `close` may be called from another thread, and ends an iteration that waits for an event.
    """

    def __init__(
        self, connection: Connection, request: models_pb2.WatchRequest, timeout_s: float | None
    ) -> None:
        self._stream = connection.stream(WATCH, request, timeout_s)
        self._connection = connection
        self._timeout_s = timeout_s
        self._closed = False

    def __next__(self) -> ModelEvent:
        """Waits for the next event.

        Raises:
            HonedError: The stream broke; watch again to see the present state first.
        """
        try:
            return event_from(next(self._stream))
        except grpc.RpcError as error:
            if self._closed:
                raise StopIteration from None
            raise self._connection.error(error, WATCH, self._timeout_s) from error

    def close(self) -> None:
        """Ends the stream; harmless to repeat."""
        self._closed = True
        self._stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncWatch(AsyncIterator[ModelEvent]):
    """`Watch` for `async for` and `async with`; another task may close it."""

    def __init__(
        self, connection: AsyncConnection, request: models_pb2.WatchRequest, timeout_s: float | None
    ) -> None:
        self._stream = connection.stream(WATCH, request, timeout_s)
        self._events = aiter(self._stream)
        self._connection = connection
        self._timeout_s = timeout_s
        self._closed = False

    async def __anext__(self) -> ModelEvent:
        """Waits for the next event.

        Raises:
            HonedError: The stream broke; watch again to see the present state first.
        """
        try:
            return event_from(await anext(self._events))
        except grpc.aio.AioRpcError as error:
            raise self._connection.error(error, WATCH, self._timeout_s) from error
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise (StopAsyncIteration if self._closed else closed()) from None

    async def close(self) -> None:
        """Ends the stream; harmless to repeat."""
        self._closed = True
        self._stream.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
