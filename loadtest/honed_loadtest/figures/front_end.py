"""What a request costs the server outside the encoder, by the way it comes in.

The server is the real one, with an encoder that only waits (`front_end_server.py`): sockets,
messages, tokens, queue, heads, replies, metrics and the prediction log are left. The reciprocal of
that cost is what one process can carry; several front-end processes on one port would pay only
where an engine answers more than that.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from threading import Semaphore
from time import monotonic
from typing import Any

import grpc

from honed_loadtest.bench import Bench
from honed_loadtest.report import Table, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import spread
from honed_proto.v1 import inference_pb2 as pb

SERVER = "honed_loadtest.front_end_server"
CONCURRENCY = 32
STREAM_WINDOW = 64
BATCH_TEXTS, BATCH_CONCURRENCY = 64, 4
SETTINGS = {
    "unary_concurrency": CONCURRENCY,
    "stream_window": STREAM_WINDOW,
    "batch": {"texts": BATCH_TEXTS, "concurrency": BATCH_CONCURRENCY},
    "aims": {"unary_cpu_ms": 0.5, "batched_cpu_ms_a_text": 0.1, "streamed_over_unary": 0.5},
}
_SERVICE = "/honed.v1.Inference/"
_TIMEOUT_S = 30.0


def run(bench: Bench) -> dict[str, Any]:
    """The ways in take turns, every second round in reverse order."""
    with bench.servers.learned("--no-adapt", module=SERVER) as server:
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(server.target, options) as channel:
            ways = _ways(channel, bench.asked)
            found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for number in range(bench.plan.rounds):
                for name in reversed(ways) if number % 2 else ways:
                    ways[name](monotonic() + bench.plan.warm_s)
                    found[name].append(_measured(server, ways[name], bench.plan.seconds))
    return {
        name: {key: spread([one[key] for one in each]) for key in each[0]}
        for name, each in found.items()
    }


Way = Callable[[float], int]
"""Asks until then, a monotonic second, waits for all answers, returns how many texts they had."""


def _ways(channel: grpc.Channel, texts: Sequence[str]) -> dict[str, Way]:
    unary: Any = channel.unary_unary(_SERVICE + "Predict")
    stream: Any = channel.stream_stream(_SERVICE + "PredictStream")
    singles = cycle([_request([text]) for text in texts])
    endless = cycle(texts)
    batches = cycle([_request([next(endless) for _ in range(BATCH_TEXTS)]) for _ in range(50)])
    return {
        "alone": lambda end: _closed(unary, singles, 1, end),
        "unary": lambda end: _closed(unary, singles, CONCURRENCY, end),
        "streamed": lambda end: _streamed(stream, singles, end),
        "batched": lambda end: BATCH_TEXTS * _closed(unary, batches, BATCH_CONCURRENCY, end),
    }


def _request(texts: Sequence[str]) -> bytes:
    return pb.PredictRequest(model=MODEL, texts=texts).SerializeToString()


def _closed(call: Any, requests: Iterator[bytes], concurrency: int, end: float) -> int:
    """A closed loop of so many calls."""
    free, sent = Semaphore(concurrency), 0
    failures: list[str] = []

    def note(done: Any) -> None:
        if done.code() is not grpc.StatusCode.OK:
            failures.append(str(done.exception()))
        free.release()

    while monotonic() < end:
        free.acquire()
        call.future(next(requests), timeout=_TIMEOUT_S).add_done_callback(note)
        sent += 1
    for _ in range(concurrency):
        free.acquire()
    if failures:
        raise RuntimeError(f"calls failed, so the figures are void: {failures[0]}")
    return sent


def _streamed(call: Any, requests: Iterator[bytes], end: float) -> int:
    """One stream with so many requests under way."""
    free = Semaphore(STREAM_WINDOW)

    def asked() -> Iterator[bytes]:
        while monotonic() < end:
            free.acquire()
            yield next(requests)

    answered = 0
    for _ in call(asked(), timeout=end - monotonic() + _TIMEOUT_S):
        free.release()
        answered += 1
    return answered


def _measured(server: ServerProcess, way: Way, seconds: float) -> dict[str, float]:
    began, server_s, client_s = monotonic(), -server.cpu_s(), -_cpu_s()
    texts = way(began + seconds)
    took_s = monotonic() - began
    server_s += server.cpu_s()
    client_s += _cpu_s()
    return {
        "per_s": texts / took_s,
        "server_cpu_ms_a_text": server_s * 1e3 / texts,
        "carried_per_s": texts / server_s,
        "server_cores": server_s / took_s,
        "client_cores": client_s / took_s,
    }


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each way in."""
    names = {
        "alone": "one RPC after the other",
        "unary": f"{CONCURRENCY} RPCs under way",
        "streamed": f"one stream, {STREAM_WINDOW} messages under way",
        "batched": f"{BATCH_CONCURRENCY} RPCs of {BATCH_TEXTS} texts under way",
    }
    digits = {
        "per_s": 0, "server_cpu_ms_a_text": 3, "carried_per_s": 0, "server_cores": 2,
        "client_cores": 2,
    }  # fmt: skip
    columns = [
        "way in", "texts/s", "server CPU ms a text", "texts/s of one busy core", "server cores",
        "client cores",
    ]  # fmt: skip
    rows = [
        [names[name], *(ranged(of[key], places) for key, places in digits.items())]
        for name, of in results.items()
    ]
    title = "The front end alone (aim: 0.5 ms unary, half of it streamed, 0.1 ms batched)"
    return [Table(title, columns, rows)]
