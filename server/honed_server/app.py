"""Assembles the server: the one place that knows every part and the order of their start."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import structlog

from honed_adapt.gate.policy import Policy
from honed_adapt.process.messages import Load
from honed_adapt.storage.errors import StoreError
from honed_server.config import ServerConfig
from honed_server.edge.errors import ServingError
from honed_server.edge.grpc_server import Services, make_grpc_server
from honed_server.edge.health import Health
from honed_server.edge.http import HttpEndpoint
from honed_server.edge.metrics import Metrics
from honed_server.edge.rpc import Edge
from honed_server.encoders.devices import Device, find_device
from honed_server.encoders.pool import EncoderPool
from honed_server.feedback.deletions import Deletions
from honed_server.feedback.distrust import believe
from honed_server.feedback.forgetting import Forgetting
from honed_server.feedback.retention import Rates, Retention, begin_chores
from honed_server.feedback.service import FeedbackService
from honed_server.home import (
    StartError,
    Stores,
    default_encoder,
    lock_home,
    open_stores,
    socket_path,
)
from honed_server.insight.drift import DriftWatch
from honed_server.insight.explain import Explanations
from honed_server.insight.review import Reviews
from honed_server.insight.suspects import Suspicions
from honed_server.learning.link import AdaptLink
from honed_server.learning.supervisor import Supervisor
from honed_server.models.catalogue import Catalogue
from honed_server.models.creation import Creation
from honed_server.models.events import Events
from honed_server.models.export import Exports
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.policies import Policies
from honed_server.models.replay import Replays
from honed_server.models.service import ModelsService
from honed_server.models.shelf import Shelf
from honed_server.models.uploads import Uploads
from honed_server.rounds.triggers import begin_rounds
from honed_server.serving.admission import Admission, Limits
from honed_server.serving.batcher import BatchQueue
from honed_server.serving.engine import Engine
from honed_server.serving.generations import EncoderKey, GenerationTable
from honed_server.serving.pressure import Pressure
from honed_server.serving.recall import Recall
from honed_server.serving.service import InferenceService
from honed_server.serving.traffic import Traffic
from honed_server.startup import FIRST_START_S, create_example, load_models, wait_caught_up
from honed_server.trials.book import TrialBook
from honed_server.trials.candidates import Candidates
from honed_server.trials.latency import Latencies
from honed_server.trials.offers import Offers
from honed_server.trials.trials import Trials

log = structlog.get_logger(__name__)

# A tenth of a core beside busy workers: a swap is not felt, and is over within seconds.
_YIELDING_NICE = 10
# Share of the engine that must be free for what is made at the price of serving.
_NEARLY_IDLE = 0.8


class Server:
    """A running server. Made by `start`, ended by `close`; `parts` ends what has started."""

    def __init__(
        self, config: ServerConfig, device: Device, stores: Stores, parts: AsyncExitStack
    ) -> None:
        self._config = config
        self._workers = device.workers
        self._stores = stores
        self.predictions = stores.predictions
        self._parts = parts
        self.crashed = False
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
        self._traffic = Traffic(
            self._table, self._admission, self._recall, stores.predictions, self.metrics
        )
        pool = EncoderPool(
            config.home, self._loader, self._executor, self._encoders_in_use, device,
            lambda cost: cost.sized(config.max_batch_tokens, config.min_batch_tokens),
        )  # fmt: skip
        self.catalogue = Catalogue(
            config.home, stores.registry, stores.log, self._table, pool, Events(), self.metrics,
            Policies(stores.registry, Policy.of(config.policy)),
            guard_items=config.anchor_guard_items,
            integers=device.integers and config.precision == "auto",
        )  # fmt: skip
        self._drift = DriftWatch(self.catalogue, config.drift_interval_ms / 1000)
        self._recall.watch = self._drift.text
        self.catalogue.on_labels.append(self._drift.labelled)
        self.catalogue.on_forgotten.append(self._drift.recounted)
        self.catalogue.on_set_aside.append(self._drift.recounted)
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
        self._start_http()
        shelf = Shelf(catalogue)
        encoder = await asyncio.to_thread(default_encoder, config)
        creation = Creation(catalogue, shelf, encoder, self._importer)
        book = TrialBook(catalogue.registry)
        trials = Trials(catalogue, shelf, book)
        lifecycle = Lifecycle(
            catalogue, shelf, trials, config.checkpoint_revisions, learns=config.adapt
        )
        latencies = Latencies(catalogue, self.predictions)
        self._candidates = Candidates(catalogue, shelf, trials, book, lifecycle, latencies)
        self._offers = Offers(catalogue, shelf, trials, book, lifecycle, latencies)
        engine = Engine(
            self._queue, workers=self._workers, loop=asyncio.get_running_loop(),
            observe=self._traffic.observe, on_crash=partial(self._crashed, on_crash),
        )  # fmt: skip
        self.metrics.engine_cpu_seconds.set_function(lambda: engine.cpu_s)
        engine.start()
        parts.push_async_callback(asyncio.to_thread, engine.close)
        await self.health.start()
        parts.push_async_callback(self.health.stop)
        self.deletions = Deletions(catalogue, shelf, self.predictions, config.forget_deadline_days)
        await self.deletions.begin()
        await believe(catalogue.registry, catalogue.log, config.trusted)
        await load_models(catalogue, shelf)
        await self._drift.load()
        trials.start()
        parts.push_async_callback(trials.close)
        self.rounds = await begin_rounds(parts, catalogue, self._drift, config, encoder)
        self.deletions.rounds = self.rounds
        await self._start_learning(lifecycle)
        services = self._services(shelf, creation, lifecycle)
        ready_s = config.ready_ms / 1000
        if config.example and not self._stores.registry.models():
            await create_example(creation, services.feedback)
            ready_s = max(ready_s, FIRST_START_S)
        await wait_caught_up(catalogue, ready_s if config.adapt else 0.0)
        retention = Retention(self._stores.log, self.predictions, config.keep_feedback_days)
        forget = self.deletions.finish(lifecycle), self.deletions.watch()
        begin_chores(parts, *forget, retention.watch())
        await self._listen(services)

    def _start_http(self) -> None:
        parts, address = self._parts, (self._config.host, self._config.http_port)
        http = HttpEndpoint(address, self.metrics, self._alive, self._ready)
        http.start()
        parts.callback(http.close)
        self.http_port = http.port
        parts.callback(self._executor.shutdown)
        parts.callback(self._loader.shutdown)
        parts.push_async_callback(asyncio.to_thread, self._importer.shutdown)

    async def _start_learning(self, lifecycle: Lifecycle) -> None:
        config, catalogue, parts = self._config, self.catalogue, self._parts
        socket = socket_path(config.home)
        link = AdaptLink(socket, catalogue, lifecycle, self._offers, self.rounds)
        catalogue.tell_adapt = link.tell
        self._questions = link.questions

        def tell(load: Load) -> None:
            link.report(load)
            if load.idle >= _NEARLY_IDLE:
                catalogue.pool.widen()

        pressure = Pressure(self._workers, lambda: self._admission.requests, tell)
        self._traffic.feel = pressure.observe
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
        config, catalogue, predictions = self._config, self.catalogue, self.predictions
        forgetting = Forgetting(catalogue, lifecycle, predictions, self._recall, self.deletions)
        uploads = Uploads(config.home, self._importer, max_bytes=config.max_checkpoint_bytes)
        deadline_s = config.default_deadline_ms / 1000
        inference = InferenceService(
            self._table, self._queue, self._admission, self._executor, self._recall,
            catalogue.missing, self._traffic.log, deadline_s,
        )  # fmt: skip
        return Services(
            inference=inference,
            feedback=FeedbackService(
                catalogue, predictions, forgetting, Rates(config.labels_per_minute), config.redactor
            ),
            models=ModelsService(
                catalogue, creation, uploads, lifecycle, forgetting, self._candidates,
                self._offers, self.rounds,
            ),
            replays=Replays(catalogue, shelf, predictions, config.submitter_trust),
            exports=Exports(catalogue, shelf, config.submitter_trust),
            explanations=Explanations(catalogue, inference.outcomes, self._questions),
            reviews=Reviews(catalogue, predictions, inference.outcomes),
            suspicions=Suspicions(catalogue, self._questions),
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
                async with self.catalogue.hold(entry):
                    await lifecycle.checkpoints.make(entry, "checkpoint", "shutdown", gated=True)
            except (ServingError, StoreError, OSError) as error:
                log.warning("no version was written", model=entry.row.name, why=str(error))

    @property
    def adapt_pid(self) -> int | None:
        """Process id of the adapt process, if it runs."""
        return self._supervisor.pid

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
        rivals = (entry.rival.stored for entry in self.catalogue.entries.values())
        beside = {rival.loaded.key for rival in rivals if rival is not None}
        return beside | {g.loaded.key for g in self._table.current.values()}
