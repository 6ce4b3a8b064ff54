"""One description for two clients: each call is written once, and performed or awaited.

A method of `_inference.py`, `_feedback.py` or `_models.py` only describes what it asks. `@method`
makes of it a method of `Client`, which does it, and of `AsyncClient`, which returns what can be
awaited or iterated: one signature and one docstring for people, type checkers and editors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from honed._connection import AsyncConnection, Connection
from honed._retry import TRANSIENT
from honed._rpcs import Request, Response, Rpc

if TYPE_CHECKING:
    from honed._spool import Spool

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
S_co = TypeVar("S_co", covariant=True)
A_co = TypeVar("A_co", covariant=True)


class Asked(Protocol[S_co, A_co]):
    """Something asked of the server: `Client` returns an `S_co`, `AsyncClient` an `A_co`."""

    def now(self, client: Blocking) -> S_co:
        """Does it."""

    def later(self, client: Awaiting) -> A_co:
        """Returns what does it when it is awaited, or iterated."""


class Both(Generic[S_co, A_co]):
    """Something that the two clients do in different ways."""

    def __init__(self, now: Callable[[Blocking], S_co], later: Callable[[Awaiting], A_co]) -> None:
        self._now = now
        self._later = later

    def now(self, client: Blocking) -> S_co:
        """Does it."""
        return self._now(client)

    def later(self, client: Awaiting) -> A_co:
        """Returns what does it when it is awaited, or iterated."""
        return self._later(client)


class Call(Generic[T]):
    """A call with one request and one response: `T`, or an awaitable of `T`.

    Args:
        rpc: The call.
        request: Its message.
        parse: Response message -> value for the caller; raises the errors of `errors.py`.
        timeout_s: Deadline in seconds; the client's if None.
        spooled: What to return when the client's spool keeps the request; None if it never may.
    """

    def __init__(
        self,
        rpc: Rpc[Request, Response],
        request: Request,
        parse: Callable[[Response], T],
        timeout_s: float | None,
        spooled: T | None = None,
    ) -> None:
        self.rpc: Rpc[Any, Any] = rpc
        self.request: Any = request
        self.parse: Callable[[Any], T] = parse
        self.timeout_s = timeout_s
        self.spooled = spooled

    def now(self, client: Blocking) -> T:
        """Makes the call."""
        return client._perform(self)

    def later(self, client: Awaiting) -> Coroutine[Any, Any, T]:
        """Makes the call when awaited."""
        return client._perform(self)

    def map(self, change: Callable[[T], U]) -> Call[U]:
        """The same call with another view of its answer."""
        spooled = None if self.spooled is None else change(self.spooled)
        return Call(
            self.rpc,
            self.request,
            lambda answer: change(self.parse(answer)),
            self.timeout_s,
            spooled,
        )


class Blocking:
    """A client that waits for answers."""

    _connection: Connection
    _spool: Spool | None

    def _perform(self, call: Call[T]) -> T:
        if call.spooled is None or self._spool is None:
            return call.parse(self._connection.call(call.rpc, call.request, call.timeout_s))
        if not self._spool.waiting:  # else it joins the queue, so that the order is kept
            with suppress(*TRANSIENT):
                return call.parse(self._connection.call(call.rpc, call.request, call.timeout_s))
        self._spool.keep(call.request)
        return call.spooled


class Awaiting:
    """A client whose answers are awaited."""

    _connection: AsyncConnection
    _spool: Spool | None

    async def _perform(self, call: Call[T]) -> T:
        if call.spooled is None or self._spool is None:
            return call.parse(await self._connection.call(call.rpc, call.request, call.timeout_s))
        if not self._spool.waiting:
            with suppress(*TRANSIENT):
                answer = await self._connection.call(call.rpc, call.request, call.timeout_s)
                return call.parse(answer)
        await asyncio.to_thread(self._spool.keep, call.request)
        return call.spooled


def open_spool(path: str | PathLike[str] | None, target: str, timeout_s: float) -> Spool | None:
    """The spool of a client, if it is to have one."""
    if path is None:
        return None
    from honed._spool import Spool  # needs POSIX locks, which not every client has

    return Spool(Path(path), Connection(target, timeout_s))


class Method(Protocol[P, S_co, A_co]):
    """A method of both clients."""

    @overload
    def __get__(self, client: None, owner: Any = None) -> Callable[..., Any]: ...

    @overload
    def __get__(self, client: Blocking, owner: Any = None) -> Callable[P, S_co]: ...

    @overload
    def __get__(self, client: Awaiting, owner: Any = None) -> Callable[P, A_co]: ...


def method(
    describe: Callable[Concatenate[Any, P], Asked[S_co, A_co]],
) -> Method[P, S_co, A_co]:
    """Makes a method of both clients of what describes it; signature and docstring stay."""

    @wraps(describe)
    def perform(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        asked = describe(client, *args, **kwargs)
        return asked.now(client) if isinstance(client, Blocking) else asked.later(client)

    return cast("Method[P, S_co, A_co]", perform)
