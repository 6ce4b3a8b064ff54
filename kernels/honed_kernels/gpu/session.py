"""One run of the script: which parts there are, and when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from honed_kernels.gpu import (
    aims,
    checks_heads,
    checks_sums,
    learning,
    sanitizer,
    serving,
    swaps,
)
from honed_kernels.gpu.bench import Bench
from honed_kernels.gpu.device import Gpu, Interpreter
from honed_kernels.gpu.kernels import Launches
from honed_kernels.gpu.options import PARTS
from honed_kernels.gpu.report import Outcome, Report
from honed_kernels.gpu.runner import Budget, Case, Part, run
from honed_kernels.gpu.sizes import FULL, SMALL

_CASES: Mapping[str, Callable[[Bench], Iterable[Case]]] = {
    "correct": lambda bench: _correct(bench),
    "swaps": swaps.cases,
    "ceilings": lambda bench: [Case("ceilings", partial(_ceilings, bench))],
    "grouped": serving.grouped_cases,
    "pooled": serving.pooled_cases,
    "large": serving.large_cases,
    "training": learning.training_cases,
    "others": learning.other_cases,
    "sanitizer": sanitizer.cases,
    "sweep": serving.sweep_cases,
}


def measure(
    path: Path,
    *,
    dry_run: bool,
    suite: bool,
    only: Sequence[str],
    seconds: float,
    command: str,
) -> dict[str, Any]:
    """Run the parts and write the results.

    Args:
        path: where results go.
        dry_run: in Triton's interpreter, on small inputs.
        suite: for compute-sanitizer: checks only, on small inputs that nothing else has touched.
        only: names of parts, empty for all.
        seconds: no case begins later.
        command: how this was called.

    Returns:
        The document that was written.
    """
    start = time.monotonic()
    launched = Launches()
    device = Interpreter(launched) if dry_run else Gpu()
    sizes = SMALL if dry_run or suite else FULL
    budget = Budget(seconds, lambda: time.monotonic() - start)
    bench = Bench(device, sizes, budget, dry=dry_run, poison=not suite)
    report = Report(path, dry_run=dry_run, command=command, seconds=seconds, device=device.about())
    wanted = [name for name in PARTS if name in (["correct"] if suite else only or PARTS)]
    with launched.counting():
        run([Part(n, _CASES[n](bench)) for n in wanted], report, budget, device.synchronize)
    checked = report.document["parts"][0]
    if checked["name"] == "correct" and checked["status"] == "done":
        idle = [name for name, count in launched.by_name().items() if not count]
        for name in idle:
            report.problem(f"{name} never ran")
    report.close(launched.by_name(), aims.judge(bench.ratios, dry_run=dry_run))
    return report.document


def _correct(bench: Bench) -> Iterator[Case]:
    for check in (*checks_heads.checks(bench), *checks_sums.checks(bench)):
        # Under compute-sanitizer all takes long, and compiling too: there one dtype will do. On a
        # CPU the others would show nothing more of the script.
        few = bench.dry or not bench.poison
        if not (few and check.name.endswith(("fp32", "fp16"))):
            yield Case(check.name, partial(check.outcome, poison=bench.poison))


def _ceilings(bench: Bench) -> Outcome:
    found = bench.ceilings
    rates = {str(dtype).removeprefix("torch."): v for dtype, v in found.operations_per_s.items()}
    return Outcome(
        {
            "bytes_per_s": found.bytes_per_s,
            "operations_per_s": rates,
            "launch_us": found.launch_us,
        }
    )
