"""The result of `honed bench`: one JSON object, described by `schema.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from honed_loadtest import histogram, report
from honed_loadtest.options import Options
from honed_loadtest.stage import Stage
from honed_loadtest.statistics import spread

SCHEMA_VERSION = 1
_DISTRIBUTIONS = ("latency", "service", "queued", "computed", "refusal", "label_to_served")
_COUNTS = ("requests", "answered", "refused", "failed")

Document = dict[str, Any]


def origin(command: str) -> dict[str, Any]:
    """What makes the result again, and where; taken before anything is measured."""
    return {
        "command": command,
        "commit": report.commit(),
        "versions": report.versions(),
        "machine": report.machine(),
    }


def document(
    scenario: str,
    origin: dict[str, Any],
    options: Options,
    stages: Sequence[Stage],
    runs: Sequence[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]],
    witness: dict[str, Any] | None,
) -> Document:
    """Puts a result together; it is invalid if any of its runs or the witness is."""
    faults = [
        f"{run['arm']}, {run['server']}, round {run['round'] + 1}: {fault}"
        for run in runs
        for fault in run["invalid"]
    ]
    faults += [
        f"no rate that the search tried on {stage.name} held the bound"
        for stage in stages
        if stage.probes and not any(probe.held for probe in stage.probes)
    ]
    if witness is not None and witness["client"]["errors"]:
        faults.append(f"{witness['client']['errors']} calls of {witness['generator']} failed")
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario,
        **origin,
        "date": report.now(),
        "settings": asdict(options),
        "servers": [_server(stage) for stage in stages],
        "invalid": bool(faults),
        "why": faults,
        "arms": _arms(runs),
        "comparisons": list(comparisons),
        "loadgen": witness,
        "search": [asdict(probe) for stage in stages for probe in stage.probes],
        "runs": list(runs),
    }


def _server(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "own": stage.server is not None,
        "peak_per_s": stage.own_peak_per_s,
    }


def _arms(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of each arm together, in the order in which arms first ran."""
    names = dict.fromkeys((run["arm"], run["server"]) for run in runs)
    return [_pooled([run for run in runs if (run["arm"], run["server"]) == name]) for name in names]


def _pooled(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = runs[0]
    offered = [run["offered_per_s"] for run in runs]
    return {
        "arm": first["arm"],
        "server": first["server"],
        "rounds": len(runs),
        "loop": first["loop"],
        "offered_per_s": None if None in offered else spread(offered),
        "achieved_per_s": spread([run["achieved_per_s"] for run in runs]),
        "client_cores": spread([run["client"]["cpu_cores"] for run in runs]),
        **{name: sum(run[name] for run in runs) for name in _COUNTS},
        **{name: _merged([run[name] for run in runs]) for name in _DISTRIBUTIONS},
    }


def _merged(found: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    texts = [each["histogram"] for each in found if each is not None]
    if not texts:
        return None
    text = histogram.merged(texts)
    return (histogram.percentiles(text) or {}) | {"histogram": text}


def write(found: Document, path: Path) -> None:
    """Writes a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
