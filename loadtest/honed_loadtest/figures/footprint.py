"""What each process needs: memory, and time to start."""

import subprocess
import sys
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
SETTINGS = {"imports": IMPORTS, "aims": {"first_start_s": 10}}
_IMPORT = "import time; t = time.perf_counter(); import honed; print(time.perf_counter() - t)"


def run(bench: Bench) -> dict[str, Any]:
    """Starts a server for the first time, teaches it, loads it, and starts it again."""
    home = bench.servers.new_home()
    with ServerProcess(home) as server, server.client() as client:
        first_start_s = server.ready_s
        memory = {"with the example": _memory(server)}
        learn_s = learn(client, MODEL, bench.servers.banking.train)
        memory["Banking77 learned"] = _memory(server)
        bench.closed(server, concurrency=8)
        memory["after load"] = _memory(server)
    starts = [_start_s(home) for _ in range(bench.plan.rounds)]
    return {
        "memory": memory,
        "learn_s": round(learn_s, 1),
        "start_s": {
            "first, with the example": spread([first_start_s]),
            "later, Banking77 learned": spread(starts),
        },
        "import_honed_s": spread([_import_s() for _ in range(IMPORTS)]),
    }


def _start_s(home: Path) -> float:
    with ServerProcess(home) as server:
        return server.ready_s


def _memory(server: ServerProcess) -> dict[str, Any]:
    found = {"server": processes.memory_mb(server.pid)}
    adapt = server.adapt_pid
    return found if adapt is None else found | {"adapt": processes.memory_mb(adapt)}


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
    return [
        Table("Memory", ["when", "process", "RSS MB", "PSS MB"], memory),
        Table("Times (aim: first start within 10 s)", ["what", "seconds"], seconds),
    ]
