"""MLPerf's server scenario: the highest rate that holds a p99 bound, then a second opinion on it.

Unless a rate is given it is searched for (`search.py`). Then two load generators offer that rate:
ours, and MLPerf LoadGen (mlcommons/inference), which makes its own Poisson schedule and measures
from it, so that agreement of the two shows that neither is what was measured.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.errors import BenchError
from honed_loadtest.load import run_load
from honed_loadtest.profile import OpenLoop
from honed_loadtest.search import Probe, highest
from honed_loadtest.stage import Stage

# What the summary says -> milliseconds, from nanoseconds.
_LATENCIES = {
    "Mean latency (ns)": "mean_ms",
    "50.00 percentile latency (ns)": "p50_ms",
    "90.00 percentile latency (ns)": "p90_ms",
    "95.00 percentile latency (ns)": "p95_ms",
    "99.00 percentile latency (ns)": "p99_ms",
    "99.90 percentile latency (ns)": "p99_9_ms",
    "Max latency (ns)": "max_ms",
}


def _arms(stage: Stage) -> Sequence[Arm]:
    if stage.options.shape:
        raise BenchError("LoadGen offers one rate: leave --shape out")
    if stage.options.rate_per_s is None:
        _search(stage)
    return [Arm("honed bench", stage, stage.job(stage.profile()))]


def _search(stage: Stage) -> None:
    """Finds the rate, and goes on with it as if it had been given."""
    options, bound_s = stage.options, stage.options.bound_ms / 1e3

    def attempt(rate_per_s: float) -> Probe:
        job = stage.job(OpenLoop.steady(rate_per_s, options.seconds))
        return Probe.of(stage.name, rate_per_s, run_load(replace(job, bound_s=bound_s)), bound_s)

    stage.probes = highest(attempt, stage.measured_peak())
    held = [probe.rate_per_s for probe in stage.probes if probe.held]
    stage.options = replace(options, rate_per_s=max(held, default=stage.probes[-1].rate_per_s))


def _loadgen(stage: Stage) -> dict[str, Any]:
    """Runs LoadGen in a process of its own and reads its logs."""
    options = stage.options
    with ExitStack() as resources:
        logs = Path(options.logs or resources.enter_context(tempfile.TemporaryDirectory()))
        logs.mkdir(parents=True, exist_ok=True)
        order = {
            "target": stage.target,
            "model": stage.models[0],
            "texts": list(stage.texts),
            "rate_per_s": stage.rate_per_s,
            "seconds": options.seconds,
            "bound_ms": options.bound_ms,
            "seed": options.seed,
            "logs": str(logs),
        }
        done = subprocess.run(
            [sys.executable, "-m", "honed_loadtest.loadgen_client"],
            input=json.dumps(order), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"LoadGen failed: {done.stderr.strip().splitlines()[-1]}")
        facts = json.loads((logs / "client.json").read_text())
        return described((logs / "mlperf_log_summary.txt").read_text()) | {"client": facts}


def described(summary: str) -> dict[str, Any]:
    """LoadGen's summary as results hold it."""
    pairs = (line.partition(" : ") for line in summary.splitlines())
    said = {key.strip(): value.strip() for key, colon, value in pairs if colon}
    latencies = {name: round(int(said[key]) / 1e6, 3) for key, name in _LATENCIES.items()}
    return {
        "generator": "MLPerf LoadGen, server scenario",
        "result": said["Result is"],
        "offered_per_s": float(said["target_qps"]),
        "scheduled_per_s": float(said["Scheduled samples per second"]),
        "achieved_per_s": float(said["Completed samples per second"]),
        "latency": latencies,
        "summary": said,
    }


SCENARIO = Scenario(
    "the highest rate that holds a p99 bound, by ours and by MLPerf LoadGen",
    _arms,
    witness=_loadgen,
)
