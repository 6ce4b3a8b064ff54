"""What learning costs those who ask, at half of the peak: p99 with it over p99 without it.

*training*: a synthetic trainer of the shape of a LoRA round works all the time. *labels*: labels
come in steadily, and the adapt process encodes and learns them. Both take what the server's load
leaves them (docs/decisions/0012-learning-budget.md); the table says how much that was. The arms of
a round get the same arrivals, on one server, and latency counts from when a request was due.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from honed_loadtest import processes
from honed_loadtest.bench import Bench
from honed_loadtest.labelling import labelling
from honed_loadtest.load import Outcome
from honed_loadtest.marks import Mark, Marks
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import Latencies, latencies, spread
from honed_loadtest.trainer import training

LOAD = 0.5
LABELS_PER_S = 20.0
SETTINGS = {
    "load_share_of_peak": LOAD,
    "labels_per_s": LABELS_PER_S,
    "aims": {"p99_training_over_alone": 1.25},
}

# Labels of the last moments are learned after the load.
_SETTLE_S = 20.0
_ARMS = {
    "alone": frozenset[str](),
    "training": frozenset(["training"]),
    "labels": frozenset(["labels"]),
    "both": frozenset(["training", "labels"]),
}


@dataclass(frozen=True, slots=True)
class _Run:
    """One arm in one round: what clients saw, cores that learning took, waits of labels."""

    outcome: Outcome
    trainer_cores: float
    adapt_cores: float
    waits_s: Sequence[float]


def run(bench: Bench) -> dict[str, Any]:
    """All arms in turn on one server, every second round backwards."""
    found: dict[str, list[_Run]] = {arm: [] for arm in _ARMS}
    with bench.servers.learned() as server:
        peak = bench.peak(server).per_s
        for n in range(bench.plan.rounds):
            for arm in reversed(_ARMS) if n % 2 else _ARMS:
                found[arm].append(_measured(bench, server, LOAD * peak, n, _ARMS[arm]))
    alone = found["alone"]
    arms = {arm: _summary(runs, alone) for arm, runs in found.items()}
    return {"peak_per_s": round(peak, 1), "arms": arms}


def _measured(
    bench: Bench, server: ServerProcess, rate: float, seed: int, beside: frozenset[str]
) -> _Run:
    adapt = server.adapt_pid
    assert adapt is not None, "the server learns"
    with server.client() as client, Marks(client) as marks:
        with ExitStack() as stack:
            learners = [adapt]
            if "training" in beside:
                learners.append(stack.enter_context(training(server)))
            if "labels" in beside:
                submitted = labelling(client, [MODEL], bench.servers.labels, LABELS_PER_S)
                stack.enter_context(submitted(marks))
            began, before = monotonic(), [processes.cpu_s(pid) for pid in learners]
            outcome = bench.open(server, rate, seed)
            seconds = monotonic() - began
            used = [processes.cpu_s(pid) - at for pid, at in zip(learners, before, strict=True)]
        waits_s = _waits_s(marks.settled(_SETTLE_S))
    adapt_cores, trainer_cores = [*(s / seconds for s in used), 0.0][:2]
    return _Run(outcome, trainer_cores, adapt_cores, waits_s)


def _waits_s(marks: Sequence[Mark]) -> list[float]:
    """Seconds from each label's acknowledgement until it was served; infinite if it was not."""
    served = {mark.position: mark.at for mark in marks if mark.kind == "served"}
    labels = [mark for mark in marks if mark.kind == "label"]
    return [served.get(label.position, float("inf")) - label.at for label in labels]


def _summary(runs: Sequence[_Run], alone: Sequence[_Run]) -> dict[str, Any]:
    p99, base = ([Latencies.of(r.outcome.latencies_s).p99_ms for r in of] for of in (runs, alone))
    pooled, quiet = (_pooled([r.outcome.latencies_s for r in of]) for of in (runs, alone))
    waits_s = [wait for each in runs for wait in each.waits_s]
    return {
        "per_s": spread([each.outcome.per_s for each in runs]),
        "pooled": pooled,
        "p99_ms": spread(p99),
        "p99_ratio": spread([with_ / without for with_, without in zip(p99, base, strict=True)]),
        "p99_ratio_pooled": round(pooled["p99_ms"] / quiet["p99_ms"], 3),
        "trainer_cores": spread([each.trainer_cores for each in runs]),
        "adapt_cores": spread([each.adapt_cores for each in runs]),
        "label_to_served": latencies(waits_s) if waits_s else None,
    }


def _pooled(seconds: Sequence[Any]) -> dict[str, float]:
    return latencies(np.concatenate(seconds))


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each arm."""
    rows = []
    for arm, of in results["arms"].items():
        pooled, waits = of["pooled"], of["label_to_served"]
        rows.append([
            arm, ranged(of["per_s"]), number(pooled["p50_ms"]), number(pooled["p95_ms"]),
            number(pooled["p99_ms"]), ranged(of["p99_ms"]), ranged(of["p99_ratio"], 3),
            number(of["p99_ratio_pooled"], 3), ranged(of["trainer_cores"], 2),
            ranged(of["adapt_cores"], 2), number(waits["p50_ms"]) if waits else "",
            number(waits["max_ms"]) if waits else "",
        ])  # fmt: skip
    columns = [
        "beside", "answers/s", "p50 ms", "p95 ms", "p99 ms", "p99 ms of the rounds",
        "p99 ratio of the rounds", "p99 ratio pooled", "trainer cores", "adapt cores",
        "label to served p50 ms", "longest ms",
    ]  # fmt: skip
    title = f"Learning beside {LOAD:.0%} of the peak (aim: p99 ratio with training 1.25)"
    return [Table(title, columns, rows)]
