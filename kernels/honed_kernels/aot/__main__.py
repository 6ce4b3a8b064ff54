"""`python -m honed_kernels.aot`: compile every kernel for every architecture, and report.

No GPU is needed. The table has a line for each kernel and architecture; below it stand the broken
rules and the rows that budgets.toml lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

# The interpreter's kernels cannot be compiled; Triton reads this when a kernel is defined.
os.environ.pop("TRITON_INTERPRET", None)

import triton

from honed_kernels import triton_kernels
from honed_kernels.aot import budgets
from honed_kernels.aot.compiler import Resources, compile_form
from honed_kernels.aot.targets import TARGETS
from honed_kernels.aot.variant import Variant


def main() -> int:
    """Print the report; with `--check`, return 1 if a rule is broken."""
    parser = argparse.ArgumentParser(prog="python -m honed_kernels.aot", description=__doc__)
    parser.add_argument("--op", default="", help="only the modules whose name begins so")
    parser.add_argument("--check", action="store_true", help="fail on a broken budget")
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()

    forms = {name: import_module(name).variants() for name in _modules(options.op)}
    if not forms:
        parser.error(f"no kernels in a module named {options.op}*")
    found = _compile_all(forms)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    problems = _problems(found, forms, whole=not options.op)
    sys.stdout.write("\n".join([*_table(found), "", *problems, ""]))
    return int(options.check and bool(problems))


def _modules(prefix: str) -> list[str]:
    """The modules of kernels; `widen` has device functions only."""
    found = pkgutil.iter_modules(triton_kernels.__path__, f"{triton_kernels.__name__}.")
    names = [module.name for module in found if module.name.rpartition(".")[2].startswith(prefix)]
    return [name for name in names if hasattr(import_module(name), "variants")]


def _compile_all(forms: dict[str, tuple[Variant, ...]]) -> list[Resources]:
    """Workers are spawned: a fork of a process with threads may hang."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(compile_form, module, index, target)
            for module, variants in forms.items()
            for index in range(len(variants))
            for target in range(len(TARGETS))
        ]
        return [job.result() for job in jobs]


def _problems(
    found: Sequence[Resources], forms: dict[str, tuple[Variant, ...]], *, whole: bool
) -> list[str]:
    matrix = {form.name for variants in forms.values() for form in variants if form.matrix}
    rows = budgets.load(triton.__version__)
    problems = budgets.broken(found, frozenset(matrix), rows)
    if rows is None:
        sys.stderr.write(f"no register budgets for Triton {triton.__version__}\n")
        return problems
    if lacking := budgets.missing(found, rows):
        problems += [f'add to ["{triton.__version__}"] in budgets.toml:', *lacking]
    if whole and (gone := budgets.stale(found, rows)):
        problems.append(f"remove from budgets.toml: {', '.join(gone)}")
    return problems


def _table(found: Sequence[Resources]) -> list[str]:
    heading = ("kernel", "target", "registers", "spilled", "shared", "matrix", "size")
    rows: list[tuple[str, ...]] = [heading]
    for one in found:
        values = asdict(one)
        rows.append(tuple(str(values[name]) for name in heading))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    return [
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
