"""What swaps cost those who ask: p99 with swaps over p99 without, at 70 % of the peak.

*heads*: ready heads come over the local socket many times a second, so every moment is beside a
swap. *encoders*: the same head over another encoder is offered and promoted every few seconds, so
that the server verifies, builds and warms an encoder each time; what counts is what was due within
two seconds of the order, or until the encoder served if that took longer. All arms of a round get
the same arrivals, and what is compared was due at the same moments of them; latency counts from
when a request was due. Nothing is learned meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from time import monotonic
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from honed_loadtest import processes
from honed_loadtest.bench import Bench
from honed_loadtest.load import Outcome
from honed_loadtest.publisher import Publisher
from honed_loadtest.repeated import repeated
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.second_encoder import second_encoder
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import Latencies, latencies, spread

LOAD = 0.7
SWAPS_PER_S = {"heads": 20.0, "encoders": 0.25}
_AROUND_S = 2.0
_SAMPLES_PER_S = 20.0
SETTINGS = {
    "load_share_of_peak": LOAD,
    "swaps_per_s": SWAPS_PER_S,
    "around_s": _AROUND_S,
    "aims": {"heads_p99_ratio": 1.05, "encoders_p99_ratio": 1.2},
}
_ARMS = ("without", "heads", "encoders")

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Run:
    """One arm in one round: what clients saw, and when each swap was ordered and done."""

    outcome: Outcome
    swaps: Sequence[Span]

    def around(self, swaps: Sequence[Span]) -> NDArray[np.float64]:
        """Latencies, in seconds, of what was due beside the swaps, which may be another run's."""
        due = self.outcome.answers["due"]
        beside = np.zeros(due.size, bool)
        for ordered, done in swaps:
            beside |= (ordered <= due) & (due < max(done, ordered + _AROUND_S))
        return cast(NDArray[np.float64], self.outcome.latencies_s[beside])


def run(bench: Bench) -> dict[str, Any]:
    """All arms in turn on one server, every second round backwards; then what memory it takes."""
    with bench.servers.learned("--no-adapt") as server:
        publisher = Publisher(server, MODEL)
        swap_encoder = _swap_encoder(server, publisher)
        acts = {"without": None, "heads": publisher.swap, "encoders": swap_encoder}
        peak = bench.peak(server).per_s
        found: dict[str, list[_Run]] = {arm: [] for arm in _ARMS}
        for n in range(bench.plan.rounds):
            for arm in reversed(_ARMS) if n % 2 else _ARMS:
                found[arm].append(_measured(bench, server, LOAD * peak, n, arm, acts[arm]))
        memory = _memory(bench, server, LOAD * peak, swap_encoder)
        publisher.close()
    variants = {arm: _summary(found[arm], found["without"]) for arm in SWAPS_PER_S}
    variants["encoders"] |= memory
    return {arm: {"peak_per_s": round(peak, 1), **of} for arm, of in variants.items()}


def _swap_encoder(server: ServerProcess, publisher: Publisher) -> Callable[[], None]:
    """What swaps between the encoder that serves and one that differs a little."""
    with server.client() as client:
        serving = client.get_model(MODEL).encoder_digest
    turns = cycle([second_encoder(server.home, serving), serving])
    return lambda: publisher.swap_encoder(next(turns))


def _measured(
    bench: Bench,
    server: ServerProcess,
    rate: float,
    seed: int,
    arm: str,
    act: Callable[[], None] | None,
) -> _Run:
    swaps: list[Span] = []

    def timed() -> None:
        assert act is not None, "only arms with swaps repeat one"
        ordered = monotonic()
        act()
        swaps.append((ordered, monotonic()))

    with nullcontext() if act is None else repeated(timed, SWAPS_PER_S[arm]):
        outcome = bench.open(server, rate, seed)
    began = outcome.began
    return _Run(outcome, [(ordered - began, done - began) for ordered, done in swaps])


def _memory(
    bench: Bench, server: ServerProcess, rate: float, swap_encoder: Callable[[], None]
) -> dict[str, float]:
    """PSS of the server in MB before encoder swaps under load and at worst while they go on."""
    sampled: list[float] = []

    def sample() -> None:
        sampled.append(processes.memory_mb(server.pid)["pss_mb"])

    sample()
    with repeated(swap_encoder, SWAPS_PER_S["encoders"]), repeated(sample, _SAMPLES_PER_S):
        bench.open(server, rate)
    return {"pss_mb_before": sampled[0], "pss_mb_peak": max(sampled)}


def _summary(runs: Sequence[_Run], quiet: Sequence[_Run]) -> dict[str, Any]:
    """One kind of swaps beside the same moments of the runs without."""
    found = {
        "without": [one.around(of.swaps) for one, of in zip(quiet, runs, strict=True)],
        "with": [of.around(of.swaps) for of in runs],
    }
    pooled = {arm: latencies(np.concatenate(parts)) for arm, parts in found.items()}
    p99 = {arm: [Latencies.of(part).p99_ms for part in parts] for arm, parts in found.items()}
    outcomes = {"without": [one.outcome for one in quiet], "with": [of.outcome for of in runs]}
    return {
        "per_s": {arm: spread([o.per_s for o in of]) for arm, of in outcomes.items()},
        "pooled": pooled,
        "p99_ms": {arm: spread(values) for arm, values in p99.items()},
        "p99_ratio": spread([w / o for w, o in zip(p99["with"], p99["without"], strict=True)]),
        "p99_ratio_pooled": round(pooled["with"]["p99_ms"] / pooled["without"]["p99_ms"], 3),
        "generations_that_answered_per_s": spread(
            [len(of.outcome.served) / of.outcome.seconds for of in runs]
        ),
        "swap": latencies([done - ordered for of in runs for ordered, done in of.swaps]),
    }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each kind of swap and arm."""
    rows = []
    for variant, of in results.items():
        for arm in ("without", "with"):
            pooled, last = of["pooled"][arm], arm == "with"
            rows.append([
                variant, arm, ranged(of["per_s"][arm]), number(pooled["p50_ms"]),
                number(pooled["p95_ms"]), number(pooled["p99_ms"]), ranged(of["p99_ms"][arm]),
                ranged(of["p99_ratio"], 3) if last else "",
                number(of["p99_ratio_pooled"], 3) if last else "",
                number(of["swap"]["p50_ms"]) if last else "",
                _memory_shown(of) if last else "",
            ])  # fmt: skip
    columns = [
        "what", "swaps", "answers/s", "p50 ms", "p95 ms", "p99 ms", "p99 ms of the rounds",
        "p99 ratio of the rounds", "p99 ratio pooled", "swap p50 ms", "PSS MB",
    ]  # fmt: skip
    title = f"Swaps at {LOAD:.0%} of the peak (aims: p99 ratio 1.05 for heads, 1.2 for encoders)"
    return [Table(title, columns, rows)]


def _memory_shown(of: Mapping[str, Any]) -> str:
    if "pss_mb_peak" not in of:
        return ""
    return f"{of['pss_mb_before']:.0f} before, at most {of['pss_mb_peak']:.0f}"
