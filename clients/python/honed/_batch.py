"""Automatic batching: what many callers ask one by one travels in few calls.

There is no thread and no timer of its own: whoever asks, and whatever brings an answer, sends what
may be sent; a caller whose text has waited long enough sends it.
"""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from honed._call import Awaiting, Blocking, Call
from honed.errors import HonedError
from honed.types import Prediction

_MAX_BYTES = 1024 * 1024  # of one call; a larger text travels alone

SyncFuture = concurrent.futures.Future[Prediction]
AsyncFuture = asyncio.Future[Prediction]
FutureT = TypeVar("FutureT", SyncFuture, AsyncFuture)
Outcome = Prediction | HonedError
Ask = Callable[[list[str]], Call[list[Outcome]]]


class TextQueue(Generic[FutureT]):
    """Texts that wait to be sent, with their callers, and the decision what to send now. Pure."""

    def __init__(self, max_texts: int) -> None:
        self.under_way = 0
        self.closed = False
        self._max_texts = max_texts
        self._waiting: deque[tuple[str, int, FutureT]] = deque()

    def add(self, text: str, caller: FutureT) -> None:
        """Takes a text, or raises what is wrong with it here, where it harms nobody else."""
        if self.closed:
            raise ValueError("this batch is closed; make another one with client.batched()")
        self._waiting.append((text, len(text.encode()), caller))

    def take(self, overdue: FutureT | None = None) -> tuple[list[str], list[FutureT]] | None:
        """What to send now, counted as one more call under way; None if it is better to wait.

        Args:
            overdue: A caller who has waited long enough; if its text is still here, send.
        """
        if not self._waiting or not self._worthwhile(overdue):
            return None
        self.under_way += 1
        texts: list[str] = []
        callers: list[FutureT] = []
        size = 0
        while self._waiting and len(texts) < self._max_texts:
            text, length, caller = self._waiting[0]
            if texts and size + length > _MAX_BYTES:
                break
            self._waiting.popleft()
            texts.append(text)
            callers.append(caller)
            size += length
        return texts, callers

    def _worthwhile(self, overdue: FutureT | None) -> bool:
        if not self.under_way or len(self._waiting) >= self._max_texts or self.closed:
            return True
        return overdue is not None and any(overdue is caller for _, _, caller in self._waiting)


def _deliver(callers: Iterable[SyncFuture | AsyncFuture], outcomes: list[Outcome]) -> None:
    """Gives each caller its own outcome; one who has left in the meantime gets none."""
    for caller, outcome in zip(callers, outcomes, strict=True):
        if caller.done():
            continue
        if isinstance(outcome, HonedError):
            caller.set_exception(outcome)
        else:
            caller.set_result(outcome)


def _outcomes(call: Call[list[Outcome]], answer: Any, count: int) -> list[Outcome]:
    """The outcome of each text: a call that failed has failed for each, as an error of its own."""
    try:
        if not isinstance(answer, HonedError):
            return call.parse(answer)
    except HonedError as error:
        answer = error
    return [copy(answer) for _ in range(count)]


class Batch:
    """Answers texts for many threads, together; made by `Client.batched`."""

    def __init__(self, client: Blocking, ask: Ask, max_texts: int, max_wait_s: float) -> None:
        self._connection = client._connection
        self._ask = ask
        self._max_wait_s = max_wait_s
        self._queue: TextQueue[SyncFuture] = TextQueue(max_texts)
        self._changed = threading.Condition()

    def predict(self, text: str) -> Prediction:
        """Classifies one text, in one call with those of other threads.

        Raises:
            HonedError: This text, or the call that it travelled in, failed.
            ValueError: The batch is closed.
        """
        caller = SyncFuture()
        with self._changed:
            self._queue.add(text, caller)
        self._send()
        concurrent.futures.wait([caller], self._max_wait_s)
        self._send(overdue=caller)
        return caller.result()

    def close(self) -> None:
        """Takes no more texts, and waits for the answers to those that it has."""
        self._queue.closed = True
        self._send()
        with self._changed:
            self._changed.wait_for(lambda: not self._queue.under_way)

    def _send(self, overdue: SyncFuture | None = None) -> None:
        while True:
            with self._changed:
                taken = self._queue.take(overdue)
            if taken is None:
                return
            texts, callers = taken
            call = self._ask(texts)
            self._connection.start(call.rpc, call.request, partial(self._finish, call, callers))

    def _finish(self, call: Call[list[Outcome]], callers: list[SyncFuture], answer: Any) -> None:
        """Runs on a thread of gRPC."""
        _deliver(callers, _outcomes(call, answer, len(callers)))
        with self._changed:
            self._queue.under_way -= 1
            self._changed.notify_all()
        self._send()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncBatch:
    """Answers texts for many tasks, together; made by `AsyncClient.batched`."""

    def __init__(self, client: Awaiting, ask: Ask, max_texts: int, max_wait_s: float) -> None:
        self._connection = client._connection
        self._ask = ask
        self._max_wait_s = max_wait_s
        self._queue: TextQueue[AsyncFuture] = TextQueue(max_texts)
        self._calls: set[asyncio.Task[None]] = set()

    async def predict(self, text: str) -> Prediction:
        """Classifies one text, in one call with those of other tasks.

        Raises:
            HonedError: This text, or the call that it travelled in, failed.
            ValueError: The batch is closed.
        """
        caller: AsyncFuture = asyncio.get_running_loop().create_future()
        self._queue.add(text, caller)
        self._send()
        try:
            await asyncio.wait([caller], timeout=self._max_wait_s)
            self._send(overdue=caller)
            return await caller
        finally:
            caller.cancel()

    async def close(self) -> None:
        """Takes no more texts, and waits for the answers to those that it has."""
        self._queue.closed = True
        self._send()
        while self._calls:
            await asyncio.wait(self._calls)

    def _send(self, overdue: AsyncFuture | None = None) -> None:
        while (taken := self._queue.take(overdue)) is not None:
            call = asyncio.create_task(self._exchange(*taken))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _exchange(self, texts: list[str], callers: list[AsyncFuture]) -> None:
        call = self._ask(texts)
        try:
            answer: Any = await self._connection.call(call.rpc, call.request)
        except HonedError as error:
            answer = error
        _deliver(callers, _outcomes(call, answer, len(callers)))
        self._queue.under_way -= 1
        self._send()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
