"""What each process needs: memory, and time to start, of which most is imports."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from honed_loadtest import processes
from honed_loadtest.bench import Bench
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL, learn
from honed_loadtest.statistics import spread

IMPORTS = 5
SETTINGS = {
    "imports": IMPORTS,
    "aims": {"ready_s": 6, "fp32_server_mb": 260, "int8_server_mb": 180},
}
_IMPORT = "import time; t = time.perf_counter(); import honed; print(time.perf_counter() - t)"
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)")
_SHOWN = 12
"""Packages that are shown by name."""


def run(bench: Bench) -> dict[str, Any]:
    """Starts a server for the first time, teaches it, loads it, and starts it again."""
    home = bench.servers.new_home()
    with ServerProcess(home) as server, server.client() as client:
        first_start_s = server.ready_s
        memory = {"first start, with the example": _memory(server)}
        learn_s = learn(client, MODEL, bench.servers.banking.train)
        memory["Banking77 learned"] = _memory(server)
    for precision in bench.servers.precisions:
        memory |= _loaded(bench, precision)
    starts = [_start_s(home) for _ in range(bench.plan.rounds)]
    return {
        "memory": memory,
        "learn_s": round(learn_s, 1),
        "start_s": {
            "first, with the example": spread([first_start_s]),
            "later, from a warm disk cache": spread(starts),
        },
        "imports_ms": _imports_ms(home),
        "import_honed_s": spread([_import_s() for _ in range(IMPORTS)]),
    }


def _loaded(bench: Bench, precision: str) -> dict[str, Any]:
    """Memory of a server that has just started, and after it was as busy as it gets."""
    with bench.servers.learned(precision=precision) as server:
        started = _memory(server)
        bench.peak(server)
        return {f"{precision}, started": started, f"{precision}, after load": _memory(server)}


def _start_s(home: Path) -> float:
    with ServerProcess(home) as server:
        return server.ready_s


def _memory(server: ServerProcess) -> dict[str, Any]:
    found = {"server": processes.memory_mb(server.pid)}
    adapt = server.adapt_pid
    return found if adapt is None else found | {"adapt": processes.memory_mb(adapt)}


def _imports_ms(home: Path) -> dict[str, float]:
    """Milliseconds that the server spends importing each package, itself and not what it imports.

    Counting them takes time of its own, so that they add up to more than a start without it.
    """
    log = home.with_suffix(".log")
    before = log.stat().st_size
    with ServerProcess(home, "--no-adapt", python=("-X", "importtime")):
        pass
    spent: Counter[str] = Counter()
    for microseconds, package in _IMPORTED.findall(log.read_text()[before:]):
        spent[package] += int(microseconds)
    shown = dict(spent.most_common(_SHOWN))
    shown["all others"] = spent.total() - sum(shown.values())
    return {package: round(each / 1e3, 1) for package, each in shown.items()}


def _import_s() -> float:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, check=True)
    return float(done.stdout)


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """Memory by process, and seconds."""
    memory = [
        [when, process, number(of["rss_mb"]), number(of["pss_mb"])]
        for when, found in results["memory"].items()
        for process, of in found.items()
    ]
    seconds = [
        *([f"server ready, {what}", ranged(of, 2)] for what, of in results["start_s"].items()),
        ["Banking77 learned through the API", number(results["learn_s"])],
        ["import honed", ranged(results["import_honed_s"], 3)],
    ]
    imports = [[package, number(spent)] for package, spent in results["imports_ms"].items()]
    return [
        Table(
            "Memory (aims: 260 MB with an encoder in fp32, 180 in int8)",
            ["when", "process", "RSS MB", "PSS MB"], memory,
        ),
        Table("Times (aim: ready within 6 s)", ["what", "seconds"], seconds),
        Table(
            "Where a start goes: imports of the server process, each package by itself",
            ["package", "ms"], imports,
        ),
    ]  # fmt: skip
