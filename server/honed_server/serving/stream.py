"""Answers the requests of one stream side by side, each as soon as it is ready."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


async def answer_each(
    requests: AsyncIterator[RequestT],
    answer: Callable[[RequestT], Awaitable[ResponseT]],
    window: int,
) -> AsyncIterator[ResponseT]:
    """Yields the answers in order of completion; at most `window` are in work or not yet taken.

    Back-pressure: no further request is read while the window is full. Errors of `requests` or
    `answer` end the stream.
    """
    answers: deque[ResponseT] = deque()
    changed = asyncio.Event()
    free = asyncio.Semaphore(window)

    async def one(request: RequestT) -> None:
        answers.append(await answer(request))
        changed.set()

    async def read() -> None:
        async with asyncio.TaskGroup() as tasks:
            async for request in requests:
                await free.acquire()
                tasks.create_task(one(request))

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: changed.set())
    try:
        while answers or not reader.done():
            if not answers:
                changed.clear()
                await changed.wait()
            while answers:
                yield answers.popleft()
                free.release()  # only now: answers that the caller does not read must not pile up
        try:
            await reader
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    finally:
        reader.cancel()
