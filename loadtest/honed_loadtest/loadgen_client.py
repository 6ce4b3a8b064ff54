"""A process in which MLPerf LoadGen asks a server through the SDK.

Run by `scenarios/mlperf.py`. LoadGen calls `_ask` from its own thread when a query is due; the
calls go on in an event loop, and LoadGen is told when each has been answered.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import mlperf_loadgen as lg  # type: ignore[import-not-found]

from honed import AsyncClient, HonedError

_WARM_UP = 20


class _Sut:
    """What LoadGen calls the system under test: here, the client's side of it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._model, self._texts = order["model"], order["texts"]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.errors = 0
        self._client = self._run(self._connected(order["target"]))

    async def _connected(self, target: str) -> AsyncClient:
        client = AsyncClient(target, throttle=False)
        for text in self._texts[:_WARM_UP]:
            await client.predict(self._model, text)
        return client

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def ask(self, samples: list[Any]) -> None:
        """Sends queries; called by LoadGen when they are due."""
        for sample in samples:
            asyncio.run_coroutine_threadsafe(self._answer(sample.id, sample.index), self._loop)

    async def _answer(self, query: int, index: int) -> None:
        try:
            await self._client.predict(self._model, self._texts[index])
        except HonedError:
            self.errors += 1
        finally:  # LoadGen waits for each query, whatever became of it
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query, 0, 0)])

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _settings(order: dict[str, Any]) -> Any:
    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.Server
    settings.mode = lg.TestMode.PerformanceOnly
    settings.server_target_qps = order["rate_per_s"]
    settings.server_target_latency_ns = int(order["bound_ms"] * 1e6)
    settings.server_target_latency_percentile = 0.99
    settings.min_duration_ms = int(order["seconds"] * 1e3)
    settings.min_query_count = 1
    settings.schedule_rng_seed = settings.sample_index_rng_seed = order["seed"] + 1
    return settings


def _logging(folder: str) -> Any:
    settings = lg.LogSettings()
    output = lg.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _nothing(*_: object) -> None:
    """LoadGen asks to load and unload texts, which are in memory anyway, and to flush."""


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def main() -> None:
    """Does one order; LoadGen's logs and ours are left in its folder."""
    order = json.loads(sys.stdin.read())
    sut = _Sut(order)
    texts = len(order["texts"])
    under_test = lg.ConstructSUT(sut.ask, _nothing)
    library = lg.ConstructQSL(texts, texts, _nothing, _nothing)
    began, busy_s = monotonic(), -_cpu_s()
    lg.StartTestWithLogSettings(under_test, library, _settings(order), _logging(order["logs"]))
    busy_s += _cpu_s()
    cores = busy_s / (monotonic() - began)
    lg.DestroyQSL(library)
    lg.DestroySUT(under_test)
    sut.close()
    facts = {"errors": sut.errors, "client_cpu_s": _cpu_s(), "cpu_cores": round(cores, 3)}
    (Path(order["logs"]) / "client.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
