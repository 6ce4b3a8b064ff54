"""Assembles the server: the one place that knows every part and the order of their start."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import structlog

from honed_adapt.messages import Load
from honed_adapt.store_errors import StoreError
from honed_server.admission import Admission, Limits
from honed_server.batcher import Answer, Batch, BatchQueue
from honed_server.catalogue import Catalogue
from honed_server.config import ServerConfig
from honed_server.creation import Creation
from honed_server.encoders.devices import Device, find_device
from honed_server.encoders.pool import EncoderPool
from honed_server.engine import Delivery, Engine
from honed_server.errors import ServingError
from honed_server.events import Events
from honed_server.export import Exports
from honed_server.feedback_service import FeedbackService
from honed_server.forgetting import Forgetting
from honed_server.generations import EncoderKey, GenerationTable
from honed_server.grpc_server import Services, make_grpc_server
from honed_server.health import Health
from honed_server.home import (
    StartError,
    Stores,
    default_encoder,
    lock_home,
    open_stores,
    socket_path,
)
from honed_server.http import HttpEndpoint
from honed_server.lifecycle import Lifecycle
from honed_server.link import AdaptLink
from honed_server.metrics import Metrics
from honed_server.models_service import ModelsService
from honed_server.predictions import PredictionRow
from honed_server.pressure import Pressure
from honed_server.recall import Recall
from honed_server.replay import Replays
from honed_server.rpc import Edge
from honed_server.service import InferenceService
from honed_server.shelf import Shelf
from honed_server.startup import FIRST_START_S, create_example, load_models, wait_caught_up
from honed_server.supervisor import Supervisor
from honed_server.uploads import Uploads

log = structlog.get_logger(__name__)

# A tenth of a core beside busy workers: a swap is not felt, and is over within seconds.
_YIELDING_NICE = 10
# Share of the engine that must be free for what is made at the price of serving.
_NEARLY_IDLE = 0.8

# Longest time that an answer waits to be logged on disk together with others.
_FLUSH_S = 0.05


class Server:
    """A running server. Made by `start`, ended by `close`; `parts` ends what has started."""

    def __init__(
        self, config: ServerConfig, device: Device, stores: Stores, parts: AsyncExitStack
    ) -> None:
        self._config = config
        self._workers = device.workers
        self._stores = stores
        self._parts = parts
        self.crashed = False
        self._flush_due = False
        self.metrics = Metrics()
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="loader")
        # On Linux each thread has a priority of its own: these yield to those that serve.
        self._importer = ThreadPoolExecutor(1, "importer", os.nice, (_YIELDING_NICE,))
        self._loader = ThreadPoolExecutor(1, "encoder-loader", os.nice, (_YIELDING_NICE,))
        self._table = GenerationTable()
        self._queue = BatchQueue(lambda: self._table.current, workers=device.workers)
        limits = Limits(config.max_queued_requests, config.max_queued_tokens)
        self._admission = Admission(limits, self._queue, device.workers)
        cache_bytes = config.embedding_cache_mb << 20
        self._recall = Recall(self._table, cache_bytes, self._executor, self.metrics)
        pool = EncoderPool(
            config.home, self._loader, self._executor, self._encoders_in_use, device,
            lambda cost: cost.sized(config.max_batch_tokens, config.min_batch_tokens),
        )  # fmt: skip
        self.catalogue = Catalogue(
            config.home, stores.registry, stores.log, self._table, pool, Events(), self.metrics,
            guard_items=config.anchor_guard_items,
            integers=device.integers and config.precision == "auto",
        )  # fmt: skip
        self.health = Health(self.catalogue)
        self.metrics.queued_tokens.set_function(lambda: self._admission.tokens)
        self.metrics.predictions_dropped.set_function(lambda: stores.predictions.dropped)

    @classmethod
    async def start(
        cls,
        config: ServerConfig,
        on_crash: Callable[[], None] = lambda: None,
        device: Device | None = None,
    ) -> "Server":
        """Starts everything and returns when it is ready to answer.

        Args:
            config: The settings.
            on_crash: Called when the engine has died of a bug.
            device: Where encoders run; by default what the settings say.

        Raises:
            StartError: Another server uses the data folder, a store is damaged, no encoder or no
                such device is there, or a port is taken.
        """
        async with AsyncExitStack() as parts:
            try:
                parts.callback(os.close, lock_home(config.home))
                stores = await asyncio.to_thread(open_stores, config, parts)
                server = cls(config, device or find_device(config), stores, parts)
                await server._start(on_crash)
            except (StoreError, ServingError, OSError, RuntimeError) as error:
                raise StartError(" ".join(str(error).split())) from error
            server._parts = parts.pop_all()
        return server

    async def _start(self, on_crash: Callable[[], None]) -> None:
        config, catalogue, parts = self._config, self.catalogue, self._parts
        address = (config.host, config.http_port)
        http = HttpEndpoint(address, self.metrics, self._alive, self._ready)
        http.start()
        parts.callback(http.close)
        self.http_port = http.port
        parts.callback(self._executor.shutdown)
        parts.callback(self._loader.shutdown)
        parts.push_async_callback(asyncio.to_thread, self._importer.shutdown)
        shelf = Shelf(catalogue)
        encoder = await asyncio.to_thread(default_encoder, config)
        creation = Creation(catalogue, shelf, encoder, self._importer)
        lifecycle = Lifecycle(catalogue, shelf, config.checkpoint_revisions)
        engine = Engine(
            self._queue,
            workers=self._workers,
            loop=asyncio.get_running_loop(),
            observe=self._observe,
            on_crash=partial(self._crashed, on_crash),
        )
        self.metrics.engine_cpu_seconds.set_function(lambda: engine.cpu_s)
        engine.start()
        parts.push_async_callback(asyncio.to_thread, engine.close)
        await self.health.start()
        parts.push_async_callback(self.health.stop)
        await load_models(catalogue, shelf)
        await self._start_learning(lifecycle)
        services = self._services(shelf, creation, lifecycle)
        ready_s = config.ready_ms / 1000
        if config.example and not self._stores.registry.models():
            await create_example(creation, services.feedback)
            ready_s = max(ready_s, FIRST_START_S)
        await wait_caught_up(catalogue, ready_s if config.adapt else 0.0)
        await self._listen(services)

    async def _start_learning(self, lifecycle: Lifecycle) -> None:
        config, catalogue, parts = self._config, self.catalogue, self._parts
        socket = socket_path(config.home)
        link = AdaptLink(socket, catalogue, lifecycle)
        catalogue.tell_adapt = link.tell

        def tell(load: Load) -> None:
            link.report(load)
            if load.idle >= _NEARLY_IDLE:
                catalogue.pool.widen()

        self._pressure = Pressure(self._workers, lambda: self._admission.requests, tell)
        await link.start()
        parts.push_async_callback(link.close)
        self._supervisor = Supervisor(config, socket, self.metrics, integers=catalogue.integers)
        if config.adapt:
            self._supervisor.start()
        else:
            catalogue.adapt_state = "down"
        parts.push_async_callback(self._supervisor.close)
        parts.push_async_callback(self._save, lifecycle)

    def _services(self, shelf: Shelf, creation: Creation, lifecycle: Lifecycle) -> Services:
        config, catalogue, predictions = self._config, self.catalogue, self._stores.predictions
        forgetting = Forgetting(catalogue, lifecycle, predictions, self._recall)
        uploads = Uploads(config.home, self._importer, max_bytes=config.max_checkpoint_bytes)
        deadline_s = config.default_deadline_ms / 1000
        return Services(
            inference=InferenceService(
                self._table, self._queue, self._admission, self._executor, self._recall,
                catalogue.missing, self._log_predictions, deadline_s,
            ),
            feedback=FeedbackService(catalogue, predictions, forgetting),
            models=ModelsService(catalogue, creation, uploads, lifecycle, forgetting),
            replays=Replays(catalogue, shelf, predictions, config.submitter_trust),
            exports=Exports(catalogue, shelf, config.submitter_trust),
            health=self.health.servicer,
            edge=Edge(self.metrics, deadline_s),
        )  # fmt: skip

    async def _listen(self, services: Services) -> None:
        config = self._config
        grpc, self.port = make_grpc_server(services, config.host, config.port)
        await grpc.start()
        self._parts.push_async_callback(grpc.stop, config.drain_ms / 1000)
        await self.health.ready()

    async def close(self) -> None:
        """Drains: refuses new calls, finishes those in flight, saves what was learned, stops."""
        await self.health.stop()
        self.catalogue.events.close()
        await self._parts.aclose()

    async def _save(self, lifecycle: Lifecycle) -> None:
        """Makes what serves a version; without it the next start learns that again."""
        for entry in list(self.catalogue.entries.values()):
            try:
                async with entry.lock:
                    await lifecycle.checkpoint(entry, "checkpoint", "shutdown", gated=True)
            except (ServingError, StoreError, OSError) as error:
                log.warning("no version was written", model=entry.row.name, why=str(error))

    @property
    def adapt_pid(self) -> int | None:
        """Process id of the adapt process, if it runs."""
        return self._supervisor.pid

    def _observe(self, batch: Batch, seconds: float, delivery: Delivery) -> None:
        self._admission.observe(time.monotonic() - batch.formed - seconds)
        metrics = self.metrics
        metrics.expired.inc(len(batch.expired))
        if not batch.rows:
            return
        self._recall.remember(delivery)
        metrics.batches.labels(batch.reason).inc()
        metrics.batch_texts.observe([len(batch.rows)])
        metrics.batch_tokens.observe([batch.tokens])
        metrics.compute_seconds.observe([seconds])
        delays_s = [outcome.queue_s for _, outcome in delivery if isinstance(outcome, Answer)]
        metrics.queue_seconds.observe(delays_s)
        self._pressure.observe(seconds, delays_s)

    def _log_predictions(self, answers: Sequence[tuple[str, Answer]]) -> None:
        now, serving = time.time(), self._table.current
        self._stores.predictions.add(
            [
                PredictionRow(
                    prediction_id=prediction_id,
                    model=answer.generation.model,
                    # The model may have been deleted while the batch was computed.
                    text=answer.text if answer.generation.model in serving else None,
                    label=answer.labels[0],
                    probability=answer.probabilities[0],
                    version=answer.generation.version,
                    revision=answer.generation.revision,
                    time=now,
                    precision=answer.generation.loaded.encoder.precision,
                )
                for prediction_id, answer in answers
            ]
        )
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush_predictions)

    def _flush_predictions(self) -> None:
        self._flush_due = False
        self._stores.predictions.flush()

    def _crashed(self, tell: Callable[[], None], error: BaseException) -> None:
        log.error("the engine is down; stopping", error=repr(error))
        self.crashed = True
        tell()

    def _alive(self) -> tuple[bool, str]:
        return (False, "the engine is down") if self.crashed else (True, "alive")

    def _ready(self) -> tuple[bool, str]:
        if self.health.serving and not self.crashed:
            return True, f"ready; adapt process {self.catalogue.adapt_state}"
        return False, "not ready"

    def _encoders_in_use(self) -> set[EncoderKey]:
        return {g.loaded.key for g in self._table.current.values()}
