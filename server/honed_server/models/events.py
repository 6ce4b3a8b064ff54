"""Who waits for a model to change: Watch streams and `wait_until_served`. Event loop only."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import SlowWatcher, Unavailable

# Events a watcher may fall behind before its stream ends.
_BACKLOG = 1000


@dataclass(frozen=True, slots=True)
class _Waiter:
    satisfied: Callable[[], bool]
    future: asyncio.Future[None]


class Events:
    """Spreads model events to watchers and wakes those who wait for a state."""

    def __init__(self) -> None:
        self._watchers: dict[asyncio.Queue[pb.ModelEvent | None], str] = {}
        self._waiters: dict[str, list[_Waiter]] = defaultdict(list)

    def publish(self, event: pb.ModelEvent) -> None:
        """Tells everyone who watches or waits for the event's model."""
        for queue, model in self._watchers.items():
            if model in ("", event.model.name) and queue.qsize() <= _BACKLOG:
                queue.put_nowait(event)
        waiting = self._waiters.pop(event.model.name, [])
        for waiter in waiting:
            if waiter.future.done():
                continue
            if waiter.satisfied():
                waiter.future.set_result(None)
            else:
                self._waiters[event.model.name].append(waiter)

    def close(self) -> None:
        """Ends all watches, which would else hold up the server's end."""
        for queue in self._watchers:
            queue.put_nowait(None)

    async def until(self, model: str, satisfied: Callable[[], bool], timeout_s: float) -> bool:
        """Waits until `satisfied` holds, looking again at each event of the model.

        Returns:
            Whether it held before `timeout_s` seconds were over.
        """
        if satisfied():
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[model].append(_Waiter(satisfied, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        return True

    async def watch(
        self, model: str, snapshot: list[pb.ModelEvent]
    ) -> AsyncIterator[pb.ModelEvent]:
        """Yields `snapshot`, then each event of `model` ("" means all), until the caller leaves.

        Raises:
            SlowWatcher: Events were missed.
            Unavailable: The server stops.
        """
        queue: asyncio.Queue[pb.ModelEvent | None] = asyncio.Queue()
        self._watchers[queue] = model
        try:
            for event in snapshot:
                yield event
            while queue.qsize() <= _BACKLOG:
                following = await queue.get()
                if following is None:
                    raise Unavailable("the server is shutting down; watch again")
                yield following
            raise SlowWatcher(f"{_BACKLOG} events behind; watch again")
        finally:
            del self._watchers[queue]
