"""Prometheus metrics: base units, one registry per server, read by `http.py`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import grpc
from google.rpc import status_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# From half a millisecond to a minute: wide enough for a GPU and for an overloaded CPU.
_SECONDS = (
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.1,
    0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_TOKENS = (8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512)
_TEXTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


@dataclass(slots=True)
class RpcOutcome:
    """Filled in by the edge: the status that the caller got, None for OK."""

    status: status_pb2.Status | None = None


class Metrics:
    """All series of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter("requests_total", "RPCs answered.", ["method", "code"])
        self.request_seconds = histogram(
            "request_seconds", "Time from arrival to answer of an RPC.", ["method"], _SECONDS
        )
        self.queue_seconds = histogram(
            "queue_seconds", "Time of a text from admission to its batch.", [], _SECONDS
        )
        self.compute_seconds = histogram(
            "compute_seconds", "Time of a batch on the engine.", [], _SECONDS
        )
        self.batch_texts = histogram("batch_texts", "Texts in a batch.", [], _TEXTS)
        self.batch_tokens = histogram("batch_tokens", "Tokens in a batch.", [], _TOKENS)
        self.batches = counter("batches_total", "Batches by why they were released.", ["reason"])
        self.expired = counter("expired_total", "Texts whose deadline passed in the queue.", [])
        self.queued_tokens = gauge("queued_tokens", "Tokens admitted and not yet answered.", [])
        self.version = gauge("model_version", "Version that serves.", ["model"])
        self.revision = gauge("model_revision", "Revision that serves.", ["model"])
        self.learned_weight = gauge(
            "learned_weight", "How much learned evidence counts beside an own head.", ["model"]
        )
        self.revisions = counter("revisions_total", "Revisions published.", ["model"])
        self.refused_offers = counter("refused_offers_total", "Offers refused.", ["model"])
        self.feedback = counter("feedback_total", "Labels recorded.", ["model", "kind"])
        self.quarantined = counter("quarantined_total", "Labels put in quarantine.", ["model"])
        self.label_ack_seconds = histogram(
            "label_ack_seconds",
            "Time from arrival of labels to their durable record.",
            [],
            _SECONDS,
        )
        self.label_to_served_seconds = histogram(
            "label_to_served_seconds",
            "Time from the durable record of a label to the revision that has learned it.",
            [],
            _SECONDS,
        )
        self.adapt_up = gauge("adapt_up", "Whether the adapt process is connected.", [])
        self.adapt_restarts = counter("adapt_restarts_total", "Restarts of the adapt process.", [])
        self.predictions_dropped = gauge(
            "prediction_log_dropped", "Predictions that could not be logged on disk.", []
        )

    @contextmanager
    def rpc(self, method: str) -> Iterator[RpcOutcome]:
        """Counts and times one RPC; a cancelled call counts as CANCELLED."""
        started = monotonic()
        outcome = RpcOutcome()
        code = grpc.StatusCode.CANCELLED.value[0]
        try:
            yield outcome
            code = grpc.StatusCode.OK.value[0]
        finally:
            if outcome.status is not None:
                code = outcome.status.code
            self.requests.labels(method, _CODE_NAMES[code]).inc()
            self.request_seconds.labels(method).observe(monotonic() - started)

    def render(self) -> bytes:
        """All series in Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"honed_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"honed_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(f"honed_{name}", text, labels, buckets=buckets, registry=self.registry)


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
