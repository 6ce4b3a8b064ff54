"""Every kernel compiles for every architecture within its budget; no GPU is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from honed_kernels.aot import budgets
from honed_kernels.aot.compiler import Resources
from honed_kernels.aot.targets import TARGETS

GOOD = Resources("op/kernel", "sm_86", registers=64, shared=101_376, matrix="mma", size=1)
ROWS = {"op/kernel": [64] * len(TARGETS)}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run as a user would: without the interpreter, unless the test asks for it.

    Minutes of compiling take what other tests leave: learning yields to all else that is busy.
    """
    settings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    idle = ["chrt", "--idle", "0"]
    return subprocess.run(
        [*idle, sys.executable, *command],
        capture_output=True,
        text=True,
        env=settings | environment,
    )


@pytest.mark.timeout(900)
def test_every_kernel_keeps_its_budget() -> None:
    done = run("-m", "honed_kernels.aot", "--check")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_the_report_compiles_even_where_the_interpreter_is_asked_for(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    done = run(
        "-m", "honed_kernels.aot", "--op", "pool", "--json", str(table), TRITON_INTERPRET="1"
    )
    assert done.returncode == 0, done.stderr
    assert "pool/mean/fp16 " in done.stdout
    assert '"error": ""' in table.read_text()


def test_a_good_kernel_breaks_nothing() -> None:
    assert budgets.broken([GOOD], frozenset({"op/kernel"}), ROWS) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (replace(GOOD, registers=65), "needs 65 registers, its budget is 64"),
        (replace(GOOD, spilled=8), "spills 8 bytes"),
        (replace(GOOD, shared=101_377), "needs 101377 bytes of shared memory of 101376"),
        (replace(GOOD, matrix=""), "has no tensor-core instruction"),
        (Resources("op/kernel", "sm_86", error="E: no"), "does not compile: E: no"),
    ],
)
def test_a_broken_rule_is_named(bad: Resources, message: str) -> None:
    assert budgets.broken([bad], frozenset({"op/kernel"}), ROWS) == [
        f"op/kernel on sm_86 {message}"
    ]


def test_another_triton_has_no_register_budgets_but_keeps_the_other_rules() -> None:
    assert budgets.load("0.0.1") is None
    bad = replace(GOOD, registers=255, spilled=8)
    assert budgets.broken([bad], frozenset(), None) == ["op/kernel on sm_86 spills 8 bytes"]


def test_a_kernel_without_a_budget_gets_the_row_to_paste() -> None:
    found = [replace(GOOD, kernel="op/new", registers=count) for count in (1, 8, 9)]
    assert budgets.missing([GOOD, *found], ROWS) == ['"op/new" = [8, 8, 16]']


def test_a_budget_without_a_kernel_is_named() -> None:
    assert budgets.stale([], ROWS) == ["op/kernel"]


def test_compilations_are_counted_whether_built_or_loaded() -> None:
    code = """if True:
        from honed_kernels import backend
        assert backend.compilations() == 0
        from honed_kernels.aot.compiler import compile_form
        for count in (1, 2):
            built = compile_form("honed_kernels.triton_kernels.pool", 0, 0)
            assert not built.error, built.error
            assert backend.compilations() == count
    """
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["honed_kernels", "honed_kernels.head", "honed_kernels.backend"])
def test_serving_on_a_cpu_loads_neither_torch_nor_triton(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'triton'}} & set(sys.modules)))"
    assert run("-c", code).returncode == 0
