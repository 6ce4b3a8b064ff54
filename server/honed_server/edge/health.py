"""Standard gRPC health: the server as a whole, and each model by its name. Never load-dependent."""

import asyncio

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from honed_server.models.catalogue import Catalogue

SERVICES = ("", "honed.v1.Inference", "honed.v1.Feedback", "honed.v1.Models")
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# Time for a watch to send its last status before it is ended.
_LAST_WORD_S = 0.2


class _Servicer(health_aio.HealthServicer):  # type: ignore[misc]  # it has no types
    """The standard service, whose watches end with the server: else they would hold it up."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: object) -> None:
        watch = asyncio.create_task(super().Watch(request, context))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((watch, ended), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((watch,), timeout=_LAST_WORD_S)
        finally:
            watch.cancel()
            ended.cancel()

    async def enter_graceful_shutdown(self) -> None:
        await super().enter_graceful_shutdown()
        self._ended.set()


class Health:
    """Keeps the standard health service in step with what serves. Event loop only."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.servicer = _Servicer()
        self._catalogue = catalogue
        self._task: asyncio.Task[None] | None = None
        self.serving = False

    async def start(self) -> None:
        """Reports NOT_SERVING until `ready`, and follows the models."""
        for service in SERVICES:
            await self.servicer.set(service, _NOT_SERVING)
        self._task = asyncio.create_task(self._follow())

    async def ready(self) -> None:
        """Reports SERVING for the server and each model that has learned something."""
        self.serving = True
        await self._refresh()

    async def stop(self) -> None:
        """Reports NOT_SERVING for good: the server drains or its engine is down."""
        self.serving = False
        await self.servicer.enter_graceful_shutdown()
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        async for event in self._catalogue.events.watch("", []):
            await self._set_model(event.model.name)

    async def _refresh(self) -> None:
        for service in SERVICES:
            await self.servicer.set(service, _SERVING if self.serving else _NOT_SERVING)
        for model in list(self._catalogue.table.current):
            await self._set_model(model)

    async def _set_model(self, model: str) -> None:
        generation = self._catalogue.table.current.get(model)
        good = self.serving and generation is not None and bool(generation.head.labels)
        await self.servicer.set(model, _SERVING if good else _NOT_SERVING)
