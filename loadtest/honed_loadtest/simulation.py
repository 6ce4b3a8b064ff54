"""`honed bench simulate`: the server's queue and admission in simulated time.

The simulator belongs to the server, whose parts it runs; it is a process of its own, so that the
harness imports nothing of the server.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from honed_loadtest import datasets
from honed_loadtest.errors import BenchError
from honed_loadtest.options import Options
from honed_loadtest.report import Table

NAME = "simulate"
_DEADLINE_S = 10.0


def simulate(options: Options) -> dict[str, Any]:
    """Replays a trace, or requests drawn as the options say, and returns what was found.

    Raises:
        BenchError: A file is missing or wrong, or there is no encoder to measure.
    """
    order = json.dumps(_order(options))
    command = [sys.executable, "-m", "honed_server.simulation.simulate"]
    done = subprocess.run(command, input=order, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"the simulator failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    if "fault" in found:
        raise BenchError(found["fault"])
    return found


def _order(options: Options) -> dict[str, Any]:
    """What `honed_server.simulation.simulate` reads."""
    try:
        trace = Path(options.trace).read_text(encoding="utf-8") if options.trace else None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{options.trace} cannot be read: {error}") from error
    if options.texts is not None:
        texts = datasets.read_texts(Path(options.texts))
    else:
        texts = [text for text, _ in datasets.load("banking77").train]
    return {
        "texts": texts,
        "trace": trace.splitlines() if trace is not None else None,
        "rate_per_s": options.rate_per_s,
        "peaks": options.load_share,
        "slow": options.slow,
        "profile": {
            "seconds": options.seconds,
            "deadline_s": options.timeout_s or _DEADLINE_S,
            "bulk_share": options.bulk_share,
            "tenants": options.tenants,
            "seed": options.seed,
        },
    }


def tables(found: Mapping[str, Any]) -> list[Table]:
    """What was found, for people."""
    batches = found["batches"]
    total = max(sum(batches.values()), 1)
    names = ("priority", "tenant", "asked", "answered", "refused", "expired", "late", "tokens")
    groups = [
        [*(str(group[name]) for name in names), _ms(group["p50_ms"]), _ms(group["p99_ms"])]
        for group in found["groups"]
    ]
    figures = [
        ("answers a second", f"{found['answered_per_s']:.0f}"),
        ("peak by the costs measured here", f"{found['peak_per_s']:.0f}"),
        ("tokens a batch", _ms(found["tokens_a_batch"])),
        ("batch is large enough at", f"{found['budget_tokens']} tokens"),
        ("is not split below", f"{found['split_tokens']} tokens"),
    ]
    reasons = [(name, str(n), f"{n / total:.0%}") for name, n in sorted(batches.items())]
    return [
        Table("Simulated", ("what", "value"), figures),
        Table("Requests", (*names, "p50 ms", "p99 ms"), groups),
        Table("Batches by why they were released", ("reason", "batches", "share"), reasons),
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
