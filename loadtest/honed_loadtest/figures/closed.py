"""Closed loop at concurrency 1, 8 and 32, beside what the encoder does alone in the same minutes.

The encoder-only limit is two threads that share one session, with the best of several batch shapes,
while this process burns as much CPU as the load clients did.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from honed_loadtest.bench import PEAK_CONCURRENCY, Bench
from honed_loadtest.burner import burning
from honed_loadtest.encoder_alone import EncoderAlone, Order
from honed_loadtest.load import Outcome
from honed_loadtest.report import Table, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import Latencies, latencies, spread

CONCURRENCY = (1, 8, PEAK_CONCURRENCY)
ALONE_TEXTS = (4, 6, 8, 10)
ALONE_THREADS = 2
SETTINGS = {
    "concurrency": CONCURRENCY,
    "alone_texts_a_batch": ALONE_TEXTS,
    "alone_threads": ALONE_THREADS,
    "aims": {"share_of_limit_at_32": 0.85, "lone_p50_over_encoder_ms": 1.5},
}


def run(bench: Bench) -> dict[str, Any]:
    """Interleaves the arms, every second round in reverse order."""
    with bench.servers.learned() as server:
        with server.client() as client:
            folder = server.home / "encoders" / client.get_model(MODEL).encoder_digest
        with EncoderAlone(folder, bench.asked) as encoder:
            meter = _Meter(bench, server, encoder)
            for number in range(bench.plan.rounds):
                meter.measure_round(backwards=bool(number % 2))
    return meter.summary()


class _Meter:
    """Measures the arms one after the other and keeps what each found in each round."""

    def __init__(self, bench: Bench, server: ServerProcess, encoder: EncoderAlone) -> None:
        self._bench, self._server, self._encoder = bench, server, encoder
        self._seconds = bench.plan.seconds
        self._served: dict[int, list[Outcome]] = {c: [] for c in CONCURRENCY}
        self._server_cpu_ms: dict[int, list[float]] = {c: [] for c in CONCURRENCY}
        self._lone: dict[bool, list[float]] = {False: [], True: []}
        self._alone: list[float] = []
        self._busy = bench.peak(server)
        self._scan = {n: self._limit(n, self._seconds / 4) for n in ALONE_TEXTS}
        self._best = max(self._scan, key=lambda n: self._scan[n])

    def measure_round(self, *, backwards: bool) -> None:
        arms: list[Callable[[], None]] = [
            # The server answers a lone request on the wide session: that is the one to compare.
            partial(self._measure_lone, False, self._seconds / 4),
            partial(self._measure_lone, True, self._seconds),
            *(partial(self._measure_served, c) for c in CONCURRENCY),
            self._measure_limit,
        ]
        for arm in reversed(arms) if backwards else arms:
            arm()

    def _measure_lone(self, wide: bool, seconds: float) -> None:
        _, spans = self._encoder.run(Order(1, 1, seconds, wide))
        self._lone[wide].append(Latencies.of(spans).p50_ms)

    def _measure_served(self, concurrency: int) -> None:
        before = self._server.cpu_s()
        outcome = self._bench.closed(self._server, concurrency)
        counted = outcome.seconds / (outcome.seconds + self._bench.plan.warm_s)
        cpu_s = (self._server.cpu_s() - before) * counted
        self._served[concurrency].append(outcome)
        self._server_cpu_ms[concurrency].append(cpu_s * 1e3 / outcome.finished)

    def _measure_limit(self) -> None:
        self._alone.append(self._limit(self._best, self._seconds))

    def _limit(self, texts: int, seconds: float) -> float:
        """Texts a second of the encoder beside what the clients burn."""
        with burning(self._busy.cpu_share, self._busy.per_s):
            return self._encoder.run(Order(ALONE_THREADS, texts, seconds))[0]

    def summary(self) -> dict[str, Any]:
        served = [Latencies.of(outcome.latencies_s).p50_ms for outcome in self._served[1]]
        best = map(min, self._lone[False], self._lone[True])
        return {
            "encoder_alone": {
                "per_s": spread(self._alone),
                "texts_a_batch": self._best,
                "scan_per_s": {str(n): round(per_s, 1) for n, per_s in self._scan.items()},
                "cores_burnt_beside": round(self._busy.cpu_share, 3),
            },
            "closed": {str(c): self._closed(c) for c in CONCURRENCY},
            "lone_p50_ms": {
                "served": spread(served),
                "encoder_1_thread": spread(self._lone[False]),
                "encoder_2_threads": spread(self._lone[True]),
                "served_over_encoder": spread([s - b for s, b in zip(served, best, strict=True)]),
            },
        }

    def _closed(self, concurrency: int) -> dict[str, Any]:
        outcomes = self._served[concurrency]
        each = [Latencies.of(outcome.latencies_s) for outcome in outcomes]
        pairs = zip(outcomes, self._alone, strict=True)
        return {
            "per_s": spread([outcome.per_s for outcome in outcomes]),
            "share_of_limit": spread([outcome.per_s / limit for outcome, limit in pairs]),
            "p50_ms": spread([one.p50_ms for one in each]),
            "p95_ms": spread([one.p95_ms for one in each]),
            "p99_ms": spread([one.p99_ms for one in each]),
            "queued_p50_ms": spread([Latencies.of(o.answers["queued_s"]).p50_ms for o in outcomes]),
            "computed_p50_ms": spread(
                [Latencies.of(o.answers["computed_s"]).p50_ms for o in outcomes]
            ),
            "pooled": latencies(np.concatenate([outcome.latencies_s for outcome in outcomes])),
            "client_cpu_ms_a_request": spread([o.cpu_ms_per_request for o in outcomes]),
            "server_cpu_ms_a_request": spread(self._server_cpu_ms[concurrency]),
        }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """The closed loop beside the limit, and the lone request beside the encoder."""
    alone, lone = results["encoder_alone"], results["lone_p50_ms"]
    digits = {
        "per_s": 1, "share_of_limit": 3, "p50_ms": 1, "p95_ms": 1, "p99_ms": 1,
        "queued_p50_ms": 1, "computed_p50_ms": 1,
        "client_cpu_ms_a_request": 2, "server_cpu_ms_a_request": 2,
    }  # fmt: skip
    rows = [
        [concurrency, *(ranged(of[key], places) for key, places in digits.items())]
        for concurrency, of in results["closed"].items()
    ]
    limit = f"encoder alone, {ALONE_THREADS} threads, {alone['texts_a_batch']} texts a batch"
    rows.append([limit, ranged(alone["per_s"]), "1", *[""] * (len(digits) - 2)])
    columns = [
        "concurrency", "answers/s", "share of the limit", "p50 ms", "p95 ms", "p99 ms",
        "queued p50 ms", "computed p50 ms", "client CPU ms", "server CPU ms",
    ]  # fmt: skip
    return [
        Table("Closed loop, Banking77 test texts (aim: 0.85 of the limit at 32)", columns, rows),
        Table(
            "A lone request, p50 in ms (aim: within 1.5 ms of the encoder)",
            ["served", "encoder, 1 thread", "encoder, 2 threads", "served over encoder"],
            [[ranged(spread, 2) for spread in lone.values()]],
        ),
    ]
