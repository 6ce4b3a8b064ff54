"""Ten times the load that the server can bear, with a deadline: how much is still useful.

Useful is an answer within its deadline, counted from when it was due. Each way to ask is measured
against the peak of the same way just before. On two cores it matters what a refusal costs: a unary
call that is refused costs the server and the client about as much as one that is answered, but for
the engine. Clients that throttle as the SDK does do not send what would most likely be refused. On
a stream, what finds the stream full is refused by the client, at no cost; the server is told the
deadline of streamed requests by its settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.arm import in_turn
from honed_loadtest.bench import Bench
from honed_loadtest.costed import Costed, run_costed
from honed_loadtest.load import Job, Outcome
from honed_loadtest.profile import ClosedLoop, OpenLoop, Profile
from honed_loadtest.report import Table, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.statistics import Latencies, spread

FACTOR = 10
DEADLINE_S = 0.2


@dataclass(frozen=True, slots=True)
class Way:
    """How texts are asked: over calls or a stream, so many a request, by so many callers."""

    texts: int
    callers: int
    stream: bool = False
    throttle: bool = False


WAYS = {
    "unary": Way(1, 16),
    "unary, clients that throttle as the SDK does": Way(1, 16, throttle=True),
    "stream": Way(1, 16, stream=True),
    "64 texts an RPC": Way(64, 4),
}
SETTINGS = {
    "times_the_peak": FACTOR,
    "deadline_s": DEADLINE_S,
    "aims": {"useful_over_peak": 0.9, "p99_ms": 200},
}
Round = tuple[float, Costed]
"""Texts a second at the peak just before, and what the overload showed."""


def run(bench: Bench) -> dict[str, Any]:
    """Each way in turn: its peak, then the overload."""
    found: dict[str, list[Round]] = {name: [] for name in WAYS}
    flag = f"--default-deadline-ms={DEADLINE_S * 1e3:.0f}"
    with bench.servers.learned(flag) as server:
        for number, name in in_turn(list(WAYS), bench.plan.rounds):
            found[name].append(_measured(bench, server, WAYS[name], number))
    return {name: _described(rounds) for name, rounds in found.items()}


def _measured(bench: Bench, server: ServerProcess, way: Way, number: int) -> Round:
    seconds = bench.plan.seconds

    def job(profile: Profile) -> Job:
        return replace(bench.job(server, profile, number), texts=way.texts, stream=way.stream)

    calm = bench.costed(server, job(ClosedLoop(way.callers, max(seconds / 2, 0.3)))).outcome
    flood = job(OpenLoop.steady(FACTOR * calm.texts_per_s / way.texts, seconds))
    run = run_costed(server, replace(flood, timeout_s=DEADLINE_S, throttle=way.throttle))
    bench.checked(run.outcome, may_fail=True)
    return calm.texts_per_s, run


def useful_per_s(outcome: Outcome) -> float:
    """Texts a second that were answered within the deadline, of all that were due."""
    samples = outcome.samples
    in_time = samples["ended"] - samples["due"] <= DEADLINE_S
    return float(samples["texts"][in_time].sum()) / outcome.seconds


def _admitted_s(outcome: Outcome) -> NDArray[np.float64]:
    """Latencies of the requests of which at least one text was answered."""
    some = outcome.samples[outcome.samples["texts"] > 0]
    return cast(NDArray[np.float64], some["ended"] - some["due"])


def _described(rounds: Sequence[Round]) -> dict[str, Any]:
    runs = [run for _, run in rounds]
    outcomes = [run.outcome for run in runs]
    p99_ms = [Latencies.of(found).p99_ms for o in outcomes if (found := _admitted_s(o)).size]
    return {
        "peak_texts_per_s": spread([peak for peak, _ in rounds]),
        "offered_per_s": spread([len(o.samples) / o.seconds for o in outcomes]),
        "useful_texts_per_s": spread([useful_per_s(o) for o in outcomes]),
        "useful_over_peak": spread([useful_per_s(r.outcome) / peak for peak, r in rounds]),
        "admitted_p99_ms": spread(p99_ms) if p99_ms else None,
        "server_cores": spread([run.server_cores for run in runs]),
        "client_cores": spread([o.cpu_share for o in outcomes]),
        "failures": [o.failures for o in outcomes],
    }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each way to ask."""
    rows = [
        [
            name, ranged(of["peak_texts_per_s"]), ranged(of["offered_per_s"]),
            ranged(of["useful_texts_per_s"]), ranged(of["useful_over_peak"], 3),
            "" if of["admitted_p99_ms"] is None else ranged(of["admitted_p99_ms"]),
            ranged(of["server_cores"], 2), ranged(of["client_cores"], 2),
        ]
        for name, of in results.items()
    ]  # fmt: skip
    columns = [
        "way", "peak texts/s", "requests offered/s", "useful texts/s", "useful over peak",
        "p99 of admitted ms", "server cores", "client cores",
    ]  # fmt: skip
    deadline = f"deadline {DEADLINE_S * 1e3:.0f} ms"
    return [Table(f"{FACTOR} x the peak, {deadline} (aims: 0.9 useful, p99 200)", columns, rows)]
