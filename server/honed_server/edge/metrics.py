"""Prometheus metrics: base units, one registry per server, read by `http.py`."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import monotonic
from typing import Self

import grpc
from google.rpc import status_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# From half a millisecond to a minute: wide enough for a GPU and for an overloaded CPU.
_SECONDS = (
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.1,
    0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_TOKENS = (8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512)
_TEXTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Distribution(Collector):
    """A histogram that takes many values at once, at a fraction of the library's cost.

    Event loop only; `collect` may be called from any thread.

    Args:
        name: Of the series, without suffix.
        text: What it measures.
        label: Name of its one label; empty for none.
        bounds: Upper bounds of its buckets, rising.
    """

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._labelnames = (label,) if label else ()  # as the library's own instruments
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        if not label:
            self.observe([])

    def observe(self, values: Sequence[float], label: str = "") -> None:
        """Counts values."""
        if label not in self._counts:
            self._sums[label] = 0.0
            self._counts[label] = [0] * (len(self._bounds) + 1)
        counts = self._counts[label]
        for value in values:
            counts[bisect_left(self._bounds, value)] += 1
        self._sums[label] += sum(values)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The series without its values."""
        yield HistogramMetricFamily(self._name, self._text, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The series, for the registry."""
        (family,) = self.describe()
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for label, counts in list(self._counts.items()):
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([label] if self._labelnames else [], buckets, self._sums[label])
        yield family


class RpcTimer:
    """Counts and times one RPC as its `with` block; a cancelled call counts as CANCELLED.

    Attributes:
        status: Set by the edge: what the caller got, None for OK.
    """

    __slots__ = ("_method", "_metrics", "_started", "status")

    def __init__(self, metrics: "Metrics", method: str) -> None:
        self._metrics, self._method = metrics, method
        self.status: status_pb2.Status | None = None

    def __enter__(self) -> Self:
        self._started = monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        code = _OK if kind is None else _CANCELLED
        code = code if self.status is None else self.status.code
        self._metrics.answered(self._method, code, monotonic() - self._started)


class Metrics:
    """All series of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered: dict[tuple[str, int], Counter] = {}
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter("requests_total", "RPCs answered.", ["method", "code"])
        self.request_seconds = histogram(
            "request_seconds", "Time from arrival to answer of an RPC.", "method", _SECONDS
        )
        self.queue_seconds = histogram(
            "queue_seconds", "Time of a text from admission to its batch.", "", _SECONDS
        )
        self.compute_seconds = histogram(
            "compute_seconds", "Time of a batch on the engine.", "", _SECONDS
        )
        self.batch_texts = histogram("batch_texts", "Texts in a batch.", "", _TEXTS)
        self.batch_tokens = histogram("batch_tokens", "Tokens in a batch.", "", _TOKENS)
        self.batches = counter("batches_total", "Batches by why they were released.", ["reason"])
        self.expired = counter("expired_total", "Texts whose deadline passed in the queue.", [])
        self.embedding_hits = counter("embedding_cache_hits_total", "Texts with a kept vector.", [])
        self.embedding_misses = counter("embedding_cache_misses_total", "Texts without one.", [])
        self.embedding_bytes = gauge("embedding_cache_bytes", "Memory of kept vectors.", [])
        self.engine_cpu_seconds = gauge(
            "engine_cpu_seconds", "CPU time of the engine's threads.", []
        )
        self.queued_tokens = gauge("queued_tokens", "Tokens admitted and not yet answered.", [])
        self.predictions_dropped = gauge(
            "prediction_log_dropped", "Predictions that could not be logged on disk.", []
        )
        self._add_learning()
        self._add_judgement()

    def _add_learning(self) -> None:
        """What is learned and served."""
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.version = gauge("model_version", "Version that serves.", ["model"])
        self.revision = gauge("model_revision", "Revision that serves.", ["model"])
        learned = "How much learned evidence counts beside an own head."
        self.learned_weight = gauge("learned_weight", learned, ["model"])
        self.revisions = counter("revisions_total", "Revisions published.", ["model"])
        self.refused_offers = counter("refused_offers_total", "Offers refused.", ["model"])
        self.feedback = counter("feedback_total", "Labels recorded.", ["model", "kind"])
        self.quarantined = counter("quarantined_total", "Labels put in quarantine.", ["model"])
        self.label_ack_seconds = histogram(
            "label_ack_seconds", "Time from arrival of labels to their being on disk.", "", _SECONDS
        )
        self.label_to_served_seconds = histogram(
            "label_to_served_seconds", "Time from a label's durable record to its being served.",
            "", _SECONDS,
        )  # fmt: skip
        self.adapt_up = gauge("adapt_up", "Whether the adapt process is connected.", [])
        self.adapt_restarts = counter("adapt_restarts_total", "Restarts of the adapt process.", [])

    def _add_judgement(self) -> None:
        """How what is learned is judged."""
        counter, gauge = self._counter, self._gauge
        self.trials = counter("trials_total", "Trials begun.", ["model", "kind"])
        outcome = ["model", "kind", "outcome"]
        self.trial_outcomes = counter("trial_outcomes_total", "Trials ended.", outcome)
        self.trial_votes = counter("trial_votes_total", "Audits that voted.", ["model"])
        e_value = "Evidence that the rival is better, or worse."
        self.trial_e_value = gauge("trial_e_value", e_value, ["model", "side"])
        self.candidates = counter("candidates_total", "Candidates judged.", ["model", "outcome"])
        alarms = "Alarms: texts or errors are not what they were."
        self.drift_alarms = counter("drift_alarms_total", alarms, ["model", "alarm"])
        wrong = "Share of wrong answers in the present window of audits."
        self.audited_error = gauge("audited_error", wrong, ["model"])
        shift = "How far texts have moved; above 1 is an alarm."
        self.text_shift = gauge("text_shift", shift, ["model"])
        self.rounds = counter("rounds_total", "Fine-tuning rounds ended.", ["outcome"])
        self.round_progress = gauge(
            "round_progress", "Share of its steps that the round at work has done.", []
        )

    def rpc(self, method: str) -> RpcTimer:
        """Counts and times one RPC."""
        return RpcTimer(self, method)

    def answered(self, method: str, code: int, seconds: float) -> None:
        """Counts one RPC that has ended."""
        series = self._answered.get((method, code))
        if series is None:
            series = self._answered[method, code] = self.requests.labels(method, _CODE_NAMES[code])
        series.inc()
        self.request_seconds.observe((seconds,), method)

    def render(self) -> bytes:
        """All series in Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"honed_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"honed_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, label: str, bounds: Sequence[float]) -> Distribution:
        distribution = Distribution(f"honed_{name}", text, label, bounds)
        self.registry.register(distribution)
        return distribution


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_OK, _CANCELLED = grpc.StatusCode.OK.value[0], grpc.StatusCode.CANCELLED.value[0]
