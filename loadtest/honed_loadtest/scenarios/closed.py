"""Closed loop at concurrency 1, 8 and 32, beside what the encoder does alone in the same minutes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from honed_loadtest.bench import MODEL, PEAK_CONCURRENCY, Bench, run as run_load
from honed_loadtest.burner import burning
from honed_loadtest.encoder_alone import EncoderAlone, Order
from honed_loadtest.load import Outcome
from honed_loadtest.report import Table, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.statistics import latencies, spread

SETTINGS = {
    "concurrency": [1, 8, PEAK_CONCURRENCY],
    "alone_texts_a_batch": [4, 6, 8, 10],
    "alone_threads": 2,
}
AIM_SHARE, AIM_LONE_MS = 0.85, 1.5

Round = dict[str, Any]


def run(bench: Bench) -> dict[str, Any]:
    """Interleaves the arms; every second round in reverse order."""
    with bench.learned_server() as server:
        with server.client() as client:
            folder = server.home / "encoders" / client.get_model(MODEL).encoder_digest
        with EncoderAlone(folder, bench.asked) as encoder:
            busy = run_load(bench.load(server, concurrency=PEAK_CONCURRENCY))
            scan = _scan(bench, encoder, busy)
            texts = max(scan, key=lambda n: scan[n])
            arms = _arms(bench, server, encoder, busy, texts)
            rounds = []
            for number in range(bench.plan.rounds):
                names = list(arms)[:: -1 if number % 2 else 1]
                rounds.append({name: arms[name]() for name in names})
    results = _summary(rounds)
    results["alone"] |= {
        "texts_a_batch": texts,
        "scan_per_s": {str(n): round(per_s, 1) for n, per_s in scan.items()},
        "burnt_cores": round(busy.cpu_share, 3),
    }
    return results


def _scan(bench: Bench, encoder: EncoderAlone, busy: Outcome) -> dict[int, float]:
    """Texts a second of each batch shape, beside what the clients burn."""
    seconds = bench.plan.seconds / 4
    found = {}
    for texts in SETTINGS["alone_texts_a_batch"]:
        with burning(busy.cpu_share, busy.per_s):
            found[texts], _ = encoder.run(Order(SETTINGS["alone_threads"], texts, seconds))
    return found


def _arms(
    bench: Bench, server: ServerProcess, encoder: EncoderAlone, busy: Outcome, texts: int
) -> dict[str, Callable[[], Any]]:
    seconds = bench.plan.seconds

    def alone() -> float:
        with burning(busy.cpu_share, busy.per_s):
            return encoder.run(Order(SETTINGS["alone_threads"], texts, seconds))[0]

    def lone(wide: bool) -> list[float]:
        return encoder.run(Order(1, 1, seconds / 2, wide))[1]

    return {
        "lone narrow": lambda: lone(False),
        "lone wide": lambda: lone(True),
        "1": lambda: _served(bench, server, 1),
        "8": lambda: _served(bench, server, 8),
        "32": lambda: _served(bench, server, 32),
        "alone": alone,
    }


def _served(bench: Bench, server: ServerProcess, concurrency: int) -> tuple[Outcome, float]:
    """The clients' outcome, and the server's CPU seconds for each answer."""
    before = server.cpu_s()
    outcome = run_load(bench.load(server, concurrency=concurrency))
    counted = outcome.seconds / (outcome.seconds + bench.plan.warm_s)
    return outcome, (server.cpu_s() - before) * counted / len(outcome.latencies_s)


def _summary(rounds: list[Round]) -> dict[str, Any]:
    alone = [r["alone"] for r in rounds]
    served = [_percentiles(r["1"][0].latencies_s)["p50_ms"] for r in rounds]
    narrow = [_percentiles(r["lone narrow"])["p50_ms"] for r in rounds]
    wide = [_percentiles(r["lone wide"])["p50_ms"] for r in rounds]
    over = [s - min(n, w) for s, n, w in zip(served, narrow, wide, strict=True)]
    return {
        "alone": {"per_s": spread(alone)},
        "closed": {
            str(c): _closed([r[str(c)] for r in rounds], alone) for c in SETTINGS["concurrency"]
        },
        "lone_p50_ms": {
            "served": spread(served),
            "encoder_1_thread": spread(narrow),
            "encoder_2_threads": spread(wide),
            "served_over_encoder": spread(over),
        },
    }
