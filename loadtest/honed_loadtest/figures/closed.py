"""Closed loop at concurrency 1, 8 and 32, beside what the encoder does alone in the same minutes.

Two limits: the *encoder-only limit*, threads that share one session with the best of several batch
shapes (`limit.py`); and the *roofline*, the work of the encoder's matrix products and attention
(`roofline.flop`: for n tokens, hidden size h and feed-forward size i it is 2 n (4 h h + 2 h i) +
4 n n h a layer) at the rate at which this machine computes nothing but those products, in fp32, on
all cores, with as many tokens at a time as a batch of that best shape has.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from honed_loadtest import costed
from honed_loadtest.arm import in_turn
from honed_loadtest.bench import PEAK_CONCURRENCY, Bench
from honed_loadtest.costed import Costed
from honed_loadtest.encoder_alone import EncoderAlone, Order
from honed_loadtest.limit import THREADS, Limit
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.report import Table, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.statistics import Latencies, latencies, spread

CONCURRENCY = (1, 8, PEAK_CONCURRENCY)
ALONE_TEXTS = (4, 6, 8, 10)
SETTINGS = {
    "concurrency": CONCURRENCY,
    "alone_texts_a_batch": ALONE_TEXTS,
    "alone_threads": THREADS,
    "aims": {
        "share_of_roofline_at_32": 0.7,
        "int8_over_fp32_at_32": 1.4,
        "lone_p50_over_encoder_ms": 1.0,
    },
}


def run(bench: Bench) -> dict[str, Any]:
    """Interleaves the arms, every second round in reverse order."""
    with ExitStack() as running:
        servers = {
            precision: running.enter_context(bench.servers.learned(precision=precision))
            for precision in bench.servers.precisions
        }
        encoder = running.enter_context(bench.encoder_alone(servers["fp32"]))
        meter = _Meter(bench, servers, encoder)
        for _, arm in in_turn(meter.arms(), bench.plan.rounds):
            arm()
    return meter.summary()


class _Meter:
    """Measures the arms one after the other and keeps what each found in each round."""

    def __init__(
        self, bench: Bench, servers: Mapping[str, ServerProcess], encoder: EncoderAlone
    ) -> None:
        self._bench, self._servers, self._encoder = bench, servers, encoder
        self._seconds = bench.plan.seconds
        self._served: dict[tuple[str, int], list[Costed]] = {
            (precision, callers): [] for precision in servers for callers in CONCURRENCY
        }
        self._lone: dict[bool, list[float]] = {False: [], True: []}
        self._alone: list[float] = []
        self._roofline: list[float] = []
        busy = bench.peak(servers["fp32"])
        self._limit = Limit(encoder, busy, ALONE_TEXTS, self._seconds / 4)

    def arms(self) -> list[Callable[[], None]]:
        seconds = self._seconds
        return [
            # The server answers a lone request on the wide session: that is the one to compare.
            partial(self._measure_lone, False, seconds / 4),
            partial(self._measure_lone, True, seconds),
            *(partial(self._measure_served, *which) for which in self._served),
            lambda: self._alone.append(self._limit.per_s(seconds)),
            lambda: self._roofline.append(self._limit.roofline_per_s(seconds / 4)),
        ]

    def _measure_lone(self, wide: bool, seconds: float) -> None:
        _, spans = self._encoder.run(Order(1, 1, seconds, wide))
        self._lone[wide].append(Latencies.of(spans).p50_ms)

    def _measure_served(self, precision: str, callers: int) -> None:
        server = self._servers[precision]
        job = self._bench.job(server, ClosedLoop(callers, self._seconds))
        self._served[precision, callers].append(self._bench.costed(server, job))

    def summary(self) -> dict[str, Any]:
        best = list(map(min, self._lone[False], self._lone[True]))
        return {
            "encoder_alone": {
                "per_s": spread(self._alone),
                "roofline_per_s": spread(self._roofline),
                "texts_a_batch": self._limit.texts,
                "scan_per_s": {str(n): round(each, 1) for n, each in self._limit.scan.items()},
                "cores_burnt_beside": round(self._limit.cores_burnt, 3),
                "tokens_a_text": round(self._encoder.tokens_a_text, 2),
                "mflop_a_text": round(self._encoder.flop_a_text / 1e6, 1),
            },
            "closed": {
                precision: {str(c): self._closed(precision, c) for c in CONCURRENCY}
                for precision in self._servers
            },
            "lone_p50_ms": {
                "encoder_1_thread": spread(self._lone[False]),
                "encoder_2_threads": spread(self._lone[True]),
                **{precision: self._lone_served(precision, best) for precision in self._servers},
            },
        }

    def _lone_served(self, precision: str, best: Sequence[float]) -> dict[str, Any]:
        runs = self._served[precision, CONCURRENCY[0]]
        served = [Latencies.of(run.outcome.latencies_s).p50_ms for run in runs]
        over = [s - b for s, b in zip(served, best, strict=True)]
        return {"served": spread(served), "served_over_encoder": spread(over)}

    def _closed(self, precision: str, callers: int) -> dict[str, Any]:
        runs = self._served[precision, callers]
        outcomes = [run.outcome for run in runs]
        queued, computed = (
            spread([Latencies.of(outcome.answers[of]).p50_ms for outcome in outcomes])
            for of in ("queued_s", "computed_s")
        )
        return {
            "share_of_limit": spread(_ratios(runs, self._alone)),
            "share_of_roofline": spread(_ratios(runs, self._roofline)),
            "over_fp32": spread(
                _ratios(runs, [run.outcome.per_s for run in self._served["fp32", callers]])
            ),
            **costed.described(runs),
            "queued_p50_ms": queued,
            "computed_p50_ms": computed,
            "pooled": latencies(np.concatenate([outcome.latencies_s for outcome in outcomes])),
        }


def _ratios(runs: Sequence[Costed], others: Sequence[float]) -> list[float]:
    return [run.outcome.per_s / other for run, other in zip(runs, others, strict=True)]


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """The closed loop beside the limits, and the lone request beside the encoder."""
    alone, lone = results["encoder_alone"], results["lone_p50_ms"]
    digits = {
        "share_of_limit": 3, "share_of_roofline": 3, "over_fp32": 2, **costed.DIGITS,
        "queued_p50_ms": 1, "computed_p50_ms": 1,
    }  # fmt: skip
    columns = [
        "precision", "callers", "share of the limit", "share of the roofline", "over fp32",
        *costed.COLUMNS, "queued p50 ms", "computed p50 ms",
    ]  # fmt: skip
    rows = [
        [precision, callers, *(ranged(of[key], places) for key, places in digits.items())]
        for precision, found in results["closed"].items()
        for callers, of in found.items()
    ]
    limits = [
        [f"encoder alone, {THREADS} threads, {alone['texts_a_batch']} texts a batch", "per_s"],
        ["fp32 roofline: its matrix products alone", "roofline_per_s"],
    ]
    work = f"{alone['tokens_a_text']:.1f} tokens, {alone['mflop_a_text']:.0f} MFLOP a text"
    return [
        Table("Closed loop, Banking77 test texts (aim: 0.7 of the roofline at 32)", columns, rows),
        Table(
            f"What limits it ({work})", ["limit", "texts/s"],
            [[name, ranged(alone[key])] for name, key in limits],
        ),
        _lone_table(lone),
    ]  # fmt: skip


def _lone_table(lone: Mapping[str, Any]) -> Table:
    encoder = [ranged(lone[f"encoder_{threads}"], 2) for threads in ("1_thread", "2_threads")]
    return Table(
        "A lone request, p50 in ms (aim: within 1 ms of the encoder, fp32)",
        ["precision", "served", "encoder, 1 thread", "encoder, 2 threads", "served over encoder"],
        [
            [
                precision, ranged(of["served"], 2), *encoder,
                ranged(of["served_over_encoder"], 2),
            ]
            for precision, of in lone.items()
            if "served" in of
        ],
    )  # fmt: skip
