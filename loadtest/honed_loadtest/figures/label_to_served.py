"""From a label's acknowledgement to the first answer that has learned it.

Three ways to see it, dealt out in turn. *answer*: a Watch event says that a revision serves, and
one Predict confirms it: the time of its answer. *polled*: a lone caller asks back to back, which
keeps all cores busy, until an answer names the revision. *wait*: the round trip of a Submit with
`wait_until_served`, fsync included. The labels are those of the test file: nothing here measures
accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from threading import Condition, Event, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self

from honed import Client
from honed_loadtest.bench import Bench, checked
from honed_loadtest.datasets import Example
from honed_loadtest.load import Load
from honed_loadtest.profile import OpenLoop
from honed_loadtest.report import Table, number
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import latencies

LOAD = 0.5
# Dealt out in this order again and again; the first is what the aim is about.
TURNS = ("answer", "answer", "answer", "polled") * 2 + ("wait",)
SETTINGS = {
    "load_share_of_peak": LOAD,
    "turns": TURNS,
    "aims": {"p50_ms": 50, "p99_ms": 250},
}
_GIVE_UP_S = 30.0
_FOR_EVER_S = 3600.0


def run(bench: Bench) -> dict[str, Any]:
    """Labels on an idle server, then beside half of the load that it can bear."""
    labels = cycle(bench.servers.labels)
    with bench.servers.learned() as server:
        peak = bench.peak(server).per_s
        idle = _submit_all(bench, server, labels)
        job = bench.job(server, OpenLoop.steady(LOAD * peak, _FOR_EVER_S))
        with Load(replace(job, warm_s=0)) as load:
            Event().wait(bench.plan.warm_s)
            loaded = _submit_all(bench, server, labels)
            beside = checked(load.stop())
    return {
        "peak_per_s": round(peak, 1),
        "idle": {way: latencies(seconds) for way, seconds in idle.items()},
        "loaded": {way: latencies(seconds) for way, seconds in loaded.items()},
        "load": {"per_s": round(beside.per_s, 1), **latencies(beside.latencies_s)},
    }


def _submit_all(
    bench: Bench, server: ServerProcess, labels: Iterator[Example]
) -> dict[str, list[float]]:
    """Seconds of each label by the way it was timed."""
    found: dict[str, list[float]] = {
        "acknowledged": [], "event": [], "answer": [], "polled": [], "wait": []
    }  # fmt: skip
    turns = bench.plan.labels * len(TURNS) // TURNS.count("answer")
    with server.client() as client, Witness(client) as witness:
        for n in range(turns):
            _time_one(TURNS[n % len(TURNS)], client, witness, next(labels), found)
    return found


def _time_one(
    way: str, client: Client, witness: "Witness", example: Example, found: dict[str, list[float]]
) -> None:
    text, label = example
    sent = monotonic()
    ack = client.submit(model=MODEL, text=text, label=label, wait=way == "wait")
    acknowledged = monotonic()
    if way == "wait":
        if not ack.served:
            raise RuntimeError("a label was not served before the deadline")
        found["wait"].append(acknowledged - sent)
        return
    found["acknowledged"].append(acknowledged - sent)
    if way == "answer":
        # The event of a label may come before its acknowledgement is here.
        found["event"].append(max(witness.seen(ack.position) - acknowledged, 0))
        patience_s = 0.0
    else:
        patience_s = _GIVE_UP_S
    while client.predict(MODEL, text).revision < ack.position:
        if monotonic() > acknowledged + patience_s:
            raise RuntimeError(f"an answer should have learned {ack.position}, and has not")
    found[way].append(monotonic() - acknowledged)


class Witness:
    """Hears of each revision of MODEL from a Watch stream, and when.

    Args:
        client: To watch with.
    """

    def __init__(self, client: Client) -> None:
        self._events = client.watch(MODEL)
        self._changed = Condition()
        self._newest = (-1, 0.0)
        self._thread = Thread(target=self._listen)
        self._thread.start()

    def seen(self, revision: int) -> float:
        """Waits for this revision or a newer one; returns the monotonic second of its event.

        Raises:
            RuntimeError: It did not come.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest[0] >= revision, _GIVE_UP_S):
                raise RuntimeError(f"revision {revision} was not served in {_GIVE_UP_S} s")
            return self._newest[1]

    def _listen(self) -> None:
        for event in self._events:
            with self._changed:
                if event.model.revision > self._newest[0]:
                    self._newest = (event.model.revision, monotonic())
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()
        self._thread.join()


_SHOWN = {
    "acknowledged": "Submit: sent to acknowledged (fsync)",
    "event": "acknowledged to Watch event",
    "answer": "acknowledged to first answer, asked at the event",
    "polled": "acknowledged to first answer, asked back to back",
    "wait": "Submit with wait: sent to served",
}


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """Each way of timing, idle and under load."""
    states = {"idle": "idle", "loaded": f"{LOAD:.0%} load"}
    percentiles = ("p50_ms", "p95_ms", "p99_ms")
    rows = [
        [shown, number(results["idle"][way]["count"])]
        + [number(results[state][way][key]) for state in states for key in percentiles]
        for way, shown in _SHOWN.items()
    ]
    heads = [
        f"{state}: {key.replace('_', ' ')}" for state in states.values() for key in percentiles
    ]
    title = "Label to served (aim for the first answer: p50 50 ms, p99 250 ms)"
    return [Table(title, ["", "labels", *heads], rows)]
