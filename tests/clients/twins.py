"""`AsyncClient` with the face of `Client`, so that every test of the one is a test of the other."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from honed import AsyncClient, Client


class Waiting:
    """Waits for whatever an asynchronous object returns, on an event loop of its own."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._settle(getattr(self._inner, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._settle(self._run(lambda: self._inner(*args, **kwargs)))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._run(lambda: anext(self._inner))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Any:
        self._run(lambda: self._inner.__aenter__())
        return self

    def __exit__(self, *raised: Any) -> None:
        self._run(lambda: self._inner.__aexit__(*raised))

    def close(self) -> None:
        """Closes a client, a watch or a generator."""
        self._run(self._inner.aclose if hasattr(self._inner, "aclose") else self._inner.close)

    def _run(self, ask: Callable[[], Any]) -> Any:
        async def wait() -> Any:
            answer = ask()
            return await answer if isinstance(answer, Awaitable) else answer

        return self._loop.run_until_complete(wait())

    def _settle(self, value: Any) -> Any:
        asynchronous = callable(value) or hasattr(value, "__anext__") or hasattr(value, "__aexit__")
        return Waiting(value, self._loop) if asynchronous and not inspect.isclass(value) else value


@contextmanager
def twin(kind: type[Client | AsyncClient], target: str, **options: Any) -> Iterator[Any]:
    """An open client of either kind, to be used as a `Client`."""
    if kind is Client:
        with Client(target, **options) as client:
            yield client
        return
    loop = asyncio.new_event_loop()
    try:
        with Waiting(kind(target, **options), loop) as client:
            yield client
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
