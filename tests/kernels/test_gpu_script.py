"""The GPU script on a machine without one: all of it runs, and it notices what is wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from mutants import assert_caught

import honed_kernels
from honed_kernels.gpu.aims import judge
from honed_kernels.gpu.kernels import find, sources_hash
from honed_kernels.gpu.options import PARTS
from honed_kernels.gpu.report import Outcome, Report
from honed_kernels.gpu.runner import Budget, Case, Part, run
from honed_kernels.gpu.sanitizer import verdict, within
from honed_kernels.gpu.session import measure
from honed_kernels.gpu.sizes import FULL, SMALL, Sizes
from honed_kernels.gpu.timing import OURS, Times, difference, least, ratios, timed
from honed_kernels.triton_kernels import pool as pool_kernels

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
Document = dict[str, Any]


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Of the command that `make bench-gpu` calls."""
    out = tmp_path_factory.mktemp("gpu") / "new" / "gpu.json"
    command = [sys.executable, "-m", "honed_kernels.gpu", "--dry-run", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    document: Document = json.loads(out.read_text())
    return document


def validate(document: Document) -> None:
    schema = json.loads((files("honed_kernels.gpu") / "schema.json").read_text())
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        document
    )


def test_a_dry_run_does_everything_and_says_so(dry_run: Document) -> None:
    validate(dry_run)
    assert [(part["name"], part["status"]) for part in dry_run["parts"]] == [
        (name, "done") for name in PARTS
    ]
    statuses = {case["status"] for part in dry_run["parts"] for case in part["cases"]}
    assert statuses == {"done", "skipped"}
    assert dry_run["complete"]
    assert dry_run["dry_run"]
    assert dry_run["kernels_sha256"] == sources_hash()


def test_a_dry_run_launches_every_kernel(dry_run: Document) -> None:
    assert dry_run["launches"].keys() == find().keys()
    assert all(dry_run["launches"].values())


def test_a_dry_run_compares_with_all_others_and_judges_nothing(dry_run: Document) -> None:
    timings = {part["name"]: part["cases"][0]["values"] for part in dry_run["parts"]}
    training = timings["training"]["ways"]
    assert set(training) - {"liger", "cut cross entropy"} == {
        OURS, "eager", "compiled", "torch", "torch in chunks",
    }  # fmt: skip
    for name, way in training.items():
        assert way["cold_us"] or way["why"].startswith("absent"), name
    assert timings["grouped"]["ways"][OURS]["launches"] == 1
    assert timings["pooled"]["ways"][OURS]["launches"] == 2
    assert {aim["reached"] for aim in dry_run["aims"]} == {None}
    # All were measured but the one about memory, which only a GPU tells.
    assert sum(aim["value"] is None for aim in dry_run["aims"]) == 1


def test_kernels_that_are_broken_or_never_launched_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run above has shown that both are right as they are."""
    out, found = tmp_path / "gpu.json", []
    # The op takes the way of the CPU.
    monkeypatch.setattr("honed_kernels.ops.lda_scores.runs_triton", lambda _: False)

    def check(module: ModuleType) -> None:
        if module is not pool_kernels:
            monkeypatch.setitem(sys.modules, pool_kernels.__name__, module)
            found.append(
                measure(out, dry_run=True, suite=True, only=(), seconds=60, command="test")
            )
            assert found[-1]["problems"] == []

    folder = tmp_path / "mutant"
    folder.mkdir()
    # The first token of each text is forgotten.
    assert_caught(pool_kernels, "token < end)", "token < end - 1)", check, folder)
    validate(found[-1])
    failed = {case["name"] for case in found[-1]["parts"][0]["cases"] if case["status"] == "failed"}
    assert failed == {f"pool/{kind}/bf16" for kind in ("cls", "last", "mean", "max")} | {
        "pool/mean-norm-l2/bf16"
    }
    assert found[-1]["problems"][len(failed) :] == [
        "lda_scores.lines_kernel never ran", "lda_scores.scores_kernel never ran",
    ]  # fmt: skip
    assert json.loads(out.read_text()) == found[-1]


class Clock:
    """Seconds that pass when a case says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def taking(self, seconds: float) -> Callable[[], Outcome]:
        def case() -> Outcome:
            self.now += seconds
            return Outcome({"seconds": seconds})

        return case


def report(path: Path) -> Report:
    about = {"name": "test"}
    return Report(path, dry_run=True, command="test", seconds=10, device=about)


def statuses(document: Document) -> list[tuple[str, str, list[str]]]:
    return [
        (part["name"], part["status"], [case["status"] for case in part["cases"]])
        for part in document["parts"]
    ]


def test_what_was_measured_before_the_time_was_up_is_kept(tmp_path: Path) -> None:
    clock, out = Clock(), tmp_path / "gpu.json"
    six = [Case(str(n), clock.taking(3)) for n in range(6)]
    parts = [Part("first", six[:2]), Part("second", six[2:5]), Part("third", six[5:])]
    made = report(out)
    run(parts, made, Budget(10, lambda: clock.now), lambda: None)
    assert statuses(json.loads(out.read_text())) == [
        ("first", "done", ["done"] * 2),
        ("second", "cut off", ["done"] * 2),
        ("third", "skipped", []),
    ]
    made.close({}, judge({}, dry_run=False))
    validate(json.loads(out.read_text()))


def test_results_are_on_disk_before_the_next_case_begins(tmp_path: Path) -> None:
    """Such as when the machine is taken away."""
    clock, out = Clock(), tmp_path / "gpu.json"

    def killed() -> Outcome:
        raise KeyboardInterrupt

    parts = [Part("first", [Case("kept", clock.taking(1)), Case("killed", killed)])]
    with pytest.raises(KeyboardInterrupt):
        run(parts, report(out), Budget(10, lambda: clock.now), lambda: None)
    document = json.loads(out.read_text())
    validate(document)
    assert statuses(document) == [("first", "cut off", ["done"])]
    assert not document["complete"]


def test_a_case_that_fails_does_not_stop_the_others_but_a_lost_device_does(tmp_path: Path) -> None:
    clock, out = Clock(), tmp_path / "gpu.json"

    def fails() -> Outcome:
        raise ValueError("no such tile")

    def settle() -> None:
        if clock.now > 1:
            raise RuntimeError("illegal address")

    cases = [Case("a", fails), Case("b", clock.taking(1)), Case("c", clock.taking(1))]
    made = report(out)
    run(
        [Part("first", [*cases, cases[1]]), Part("second", cases[1:2])],
        made,
        Budget(10, lambda: clock.now),
        settle,
    )
    validate(made.document)
    assert statuses(made.document) == [
        ("first", "cut off", ["failed", "done", "done"]),
        ("second", "skipped", []),
    ]
    assert made.document["problems"] == [
        "first: a: ValueError: no such tile",
        "the device is lost: illegal address",
    ]


def test_the_hash_changes_with_the_kernels_and_not_with_what_measures_them(tmp_path: Path) -> None:
    root = tmp_path / "honed_kernels"
    shutil.copytree(Path(honed_kernels.__path__[0]), root)
    assert sources_hash(root) == sources_hash()
    (root / "gpu" / "timing.py").write_text("")
    assert sources_hash(root) == sources_hash()
    with (root / "triton_kernels" / "pool.py").open("a") as file:
        file.write("# a comment\n")
    assert sources_hash(root) != sources_hash()


@pytest.mark.parametrize("sizes", [FULL, SMALL], ids=["full", "small"])
def test_rivals_can_be_asked_in_every_size(sizes: Sizes) -> None:
    """They take as many rows of each head."""
    for batch in (*sizes.grouped, *sizes.pooled, *sizes.sweep):
        assert batch.rows % batch.heads == 0, str(batch)


def test_aims_are_reached_or_missed_on_a_gpu_only() -> None:
    figures = {"grouped_head_over_loop": 20.0, "pool_share_of_copy": 0.84}
    found = {aim.name: aim.reached for aim in judge(figures, dry_run=False)}
    assert found["grouped_head_over_loop"] is True
    assert found["pool_share_of_copy"] is False
    assert found["large_head_over_unfused"] is None
    assert {aim.reached for aim in judge(figures, dry_run=True)} == {None}


def test_ratios_compare_with_the_fastest_in_each_mode() -> None:
    times = {
        OURS: Times(eager_us=10, warm_us=2, cold_us=4),
        "slow": Times(eager_us=40, warm_us=20, cold_us=40),
        "quick": Times(eager_us=5, warm_us=None, cold_us=12),
        "absent": Times(why="absent: it"),
    }
    found = ratios(times, ["slow", "quick", "absent"])
    assert found == {"eager_us": 0.5, "warm_us": 10, "cold_us": 3}
    assert least(found) == 3
    assert least(ratios(times, ["absent"])) is None


def test_a_rival_with_other_results_makes_a_comparison_fail() -> None:
    ways = {OURS: asdict(Times(differs_by=0.0)), "other": asdict(Times(differs_by=0.3))}
    assert timed({"ways": ways}).why == "other results than ours: other"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_rival_without_a_number_differs_and_can_be_written_down(value: float) -> None:
    one, ours = torch.tensor([1.0, value]), torch.ones(2)
    for apart in (difference(one, ours), difference(ours, one)):
        json.dumps(apart, allow_nan=False)
        assert timed({"ways": {OURS: asdict(Times()), "it": asdict(Times(differs_by=apart))}}).why
    assert difference(ours, ours) == 0


def test_what_is_not_done_in_time_runs_on_in_no_part(tmp_path: Path) -> None:
    """A pipe has an end only when all who hold it are gone."""
    assert within(60, ["sh", "-c", "echo done; exit 3"], os.environ) == (3, "done\n")
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    command = ["sh", "-c", f"sleep 1000 > {pipe} & wait"]
    assert within(1, command, os.environ) is None
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize(
    ("code", "output", "status"),
    [
        (0, "========= ERROR SUMMARY: 0 errors\n", "done"),
        (0, "========= RACECHECK SUMMARY: 0 hazards displayed\n", "done"),
        (99, "========= ERROR SUMMARY: 3 errors\n", "failed"),
        (1, "Device not supported\n", "skipped"),
        (0, "nothing was said\n", "skipped"),
    ],
)
def test_what_compute_sanitizer_says(code: int, output: str, status: str) -> None:
    assert verdict(code, output).status == status


def test_no_gpu_is_one_sentence(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [sys.executable, "-m", "honed_kernels.gpu", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "sees no GPU; --dry-run needs none" in done.stderr
    assert "Traceback" not in done.stderr
