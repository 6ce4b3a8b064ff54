"""What swapping heads costs those who ask: p99 with swaps over p99 without, at 70 % of the peak.

*offered*: ready heads come over the local socket, so that only the swap is measured. *learned*:
labels are submitted, so that the adapt process encodes and solves on the same cores as well. Both
arms of a round get the same arrivals, and latency counts from when a request was due.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle
from typing import Any

import numpy as np

from honed_loadtest.bench import Bench
from honed_loadtest.load import Outcome
from honed_loadtest.publisher import Publisher
from honed_loadtest.repeated import repeated
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import Latencies, latencies, spread

LOAD = 0.7
SWAPS_PER_S = 20.0
SETTINGS = {
    "load_share_of_peak": LOAD,
    "swaps_per_s": SWAPS_PER_S,
    "aims": {"p99_with_over_without": 1.10},
}

Disturb = Callable[[], AbstractContextManager[None]]


def run(bench: Bench) -> dict[str, Any]:
    """Both variants, each on a server of its own."""
    return {"offered": _offered(bench), "learned": _learned(bench)}


def _offered(bench: Bench) -> dict[str, Any]:
    with bench.servers.learned("--no-adapt") as server:
        publisher = Publisher(server, MODEL)
        found = _pairs(bench, server, lambda: repeated(publisher.swap, SWAPS_PER_S))
        publisher.close()
        return found


def _learned(bench: Bench) -> dict[str, Any]:
    labels = cycle(bench.servers.labels)
    with bench.servers.learned() as server, server.client() as client:

        def submit() -> None:
            text, label = next(labels)
            client.submit(model=MODEL, text=text, label=label)

        return _pairs(bench, server, lambda: repeated(submit, SWAPS_PER_S))


def _pairs(bench: Bench, server: ServerProcess, disturb: Disturb) -> dict[str, Any]:
    """Rounds of two arms, the order changing from one to the next."""
    peak = bench.peak(server).per_s
    found: dict[str, list[Outcome]] = {"without": [], "with": []}
    for n in range(bench.plan.rounds):
        for arm in ("without", "with") if n % 2 else ("with", "without"):
            with disturb() if arm == "with" else nullcontext():
                found[arm].append(bench.open(server, LOAD * peak, seed=n))
    return {"peak_per_s": round(peak, 1), **_summary(found)}


def _summary(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    pooled = {
        arm: latencies(np.concatenate([o.latencies_s for o in outcomes]))
        for arm, outcomes in found.items()
    }
    p99 = {
        arm: [Latencies.of(o.latencies_s).p99_ms for o in outcomes]
        for arm, outcomes in found.items()
    }
    return {
        "per_s": {arm: spread([o.per_s for o in outcomes]) for arm, outcomes in found.items()},
        "pooled": pooled,
        "p99_ms": {arm: spread(values) for arm, values in p99.items()},
        "p99_ratio": spread([w / o for w, o in zip(p99["with"], p99["without"], strict=True)]),
        "p99_ratio_pooled": round(pooled["with"]["p99_ms"] / pooled["without"]["p99_ms"], 3),
        "revisions_that_answered_per_s": spread([len(o.served) / o.seconds for o in found["with"]]),
    }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each variant and arm."""
    rows = []
    for variant, of in results.items():
        for arm in ("without", "with"):
            pooled, last = of["pooled"][arm], arm == "with"
            rows.append([
                variant, arm, ranged(of["per_s"][arm]), number(pooled["p50_ms"]),
                number(pooled["p95_ms"]), number(pooled["p99_ms"]), ranged(of["p99_ms"][arm]),
                ranged(of["p99_ratio"], 3) if last else "",
                number(of["p99_ratio_pooled"], 3) if last else "",
                ranged(of["revisions_that_answered_per_s"]) if last else "",
            ])  # fmt: skip
    columns = [
        "heads", "swaps", "answers/s", "p50 ms", "p95 ms", "p99 ms", "p99 ms of the rounds",
        "p99 ratio of the rounds", "p99 ratio pooled", "revisions seen/s",
    ]  # fmt: skip
    title = f"{SWAPS_PER_S:.0f} head swaps a second at {LOAD:.0%} of the peak (aim: ratio 1.10)"
    return [Table(title, columns, rows)]
