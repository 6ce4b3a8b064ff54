"""The client for asyncio: the methods of `client.py`, awaited or iterated with `async for`."""

import asyncio
import os
from types import TracebackType
from typing import Self

from honed._call import Awaiting, open_spool
from honed._connection import AsyncConnection
from honed._feedback import FeedbackCalls
from honed._inference import InferenceCalls
from honed._insight import InsightCalls
from honed._models import ModelsCalls
from honed._rounds import RoundCalls
from honed.client import DEFAULT_TIMEOUT_S, address


class AsyncClient(Awaiting, InferenceCalls, FeedbackCalls, InsightCalls, ModelsCalls, RoundCalls):
    """`Client` for asyncio: same methods, arguments, answers and errors.

    Methods documented as returning `Call[T]` return an awaitable of `T` here, those returning
    `Both[S, A]` return `A`. The connection opens at the first call and belongs to the event loop of
    that call; share the client between its tasks.

    Example:
        >>> async def ask():
        ...     async with AsyncClient() as client:
        ...         answer = await client.predict("support", "where is my order?")
        ...         ack = await client.submit(answer, label="order_status", wait=True)
        ...         return answer.label, ack.served
        >>> asyncio.run(ask())
        ('order_status', True)

    Args:
        target: Address of the server, "host:port"; if None the environment's HONED_TARGET, else
            127.0.0.1:8790. Nothing is sent before the first call.
        timeout_s: Deadline of a call that names none, in seconds, > 0.
        spool: Folder that keeps feedback while this server is away, as for `Client`; disk and
            sending are the business of other threads.
        throttle: Whether predictions are held back (`Overloaded`, reason THROTTLED; a stream waits
            instead) while the server refuses more than half of them, so that it can work.

    Raises:
        ValueError: `timeout_s` is not positive.
        OSError: The spool cannot be used.
    """

    def __init__(
        self,
        target: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        spool: str | os.PathLike[str] | None = None,
        throttle: bool = True,
    ) -> None:
        self._connection = AsyncConnection(address(target, timeout_s), timeout_s, throttle=throttle)
        self._spool = open_spool(spool, self.target, timeout_s)

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._connection.target

    async def close(self) -> None:
        """Closes the connection; calls in progress end with an error."""
        await self._connection.close()
        if self._spool is not None:
            await asyncio.to_thread(self._spool.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
