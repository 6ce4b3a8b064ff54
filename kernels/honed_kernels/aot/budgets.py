"""What a compiled kernel may need, and what to say when it needs more."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from honed_kernels.aot.compiler import Resources
from honed_kernels.aot.targets import TARGETS

Budgets = Mapping[str, Sequence[int]]
"""Registers a thread at most, by kernel, in the order of `TARGETS`."""


def load(triton_version: str) -> Budgets | None:
    """The rows for a Triton version; None if it has none, and registers are then not checked."""
    table = tomllib.loads((files(__package__) / "budgets.toml").read_text())
    rows: Budgets | None = table.get(triton_version)
    return rows


def broken(
    found: Iterable[Resources], matrix: frozenset[str], budgets: Budgets | None
) -> list[str]:
    """Every rule that a kernel breaks, in words.

    Args:
        found: what was compiled.
        matrix: kernels that must have tensor-core instructions.
        budgets: None leaves registers unchecked.
    """
    limits = {target.name: target.shared_limit for target in TARGETS}
    problems = []
    for one in found:
        where = f"{one.kernel} on {one.target}"
        allowed = _allowed(budgets, one)
        if one.error:
            problems.append(f"{where} does not compile: {one.error}")
            continue
        if one.spilled:
            problems.append(f"{where} spills {one.spilled} bytes")
        if one.shared > limits[one.target]:
            problems.append(
                f"{where} needs {one.shared} bytes of shared memory of {limits[one.target]}"
            )
        if one.kernel in matrix and not one.matrix:
            problems.append(f"{where} has no tensor-core instruction")
        if allowed is not None and one.registers > allowed:
            problems.append(f"{where} needs {one.registers} registers, its budget is {allowed}")
    return problems


def missing(found: Sequence[Resources], budgets: Budgets) -> list[str]:
    """The rows to paste into budgets.toml for kernels without one.

    A GPU hands out registers eight at a time, so a budget is a multiple of eight.
    """
    rows: dict[str, list[int]] = {}
    for one in found:
        if one.kernel not in budgets:
            rows.setdefault(one.kernel, []).append(-(-one.registers // 8) * 8)
    return [f'"{kernel}" = {row}' for kernel, row in rows.items()]


def stale(found: Iterable[Resources], budgets: Budgets) -> list[str]:
    """Kernels with a row that are compiled no more."""
    return sorted(set(budgets) - {one.kernel for one in found})


def _allowed(budgets: Budgets | None, one: Resources) -> int | None:
    if budgets is None or one.kernel not in budgets:
        return None
    column = [target.name for target in TARGETS].index(one.target)
    return budgets[one.kernel][column]
