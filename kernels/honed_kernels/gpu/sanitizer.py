"""NVIDIA's compute-sanitizer over the checks of `--suite`, which run every kernel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from honed_kernels.gpu.bench import Bench
from honed_kernels.gpu.report import Outcome
from honed_kernels.gpu.runner import Case

_CHECKS = ("memcheck", "racecheck", "initcheck")
_FOUND = 99
_USUAL = "/usr/local/cuda/bin"
# Slower than by itself, by ten and more; never more than what is left.
_LONGEST_S = 200.0


def cases(bench: Bench) -> Iterator[Case]:
    """One for each of its tools."""
    for check in _CHECKS:
        yield Case(check, partial(_run, bench, check))


def _run(bench: Bench, check: str) -> Outcome:
    tool = shutil.which("compute-sanitizer", path=f"{os.environ.get('PATH', '')}:{_USUAL}")
    if bench.device.place.type != "cuda":
        return Outcome({}, "skipped", "it needs a GPU")
    if tool is None:
        return Outcome({}, "skipped", "compute-sanitizer is not installed")
    with TemporaryDirectory() as folder:
        command = [
            tool, "--tool", check, "--error-exitcode", str(_FOUND),
            "--target-processes", "application-only",  # not the assembler that Triton calls
            sys.executable, "-m", "honed_kernels.gpu", "--suite",
            "--out", str(Path(folder) / "suite.json"),
        ]  # fmt: skip
        # A piece of memory for each tensor, so that one past its end is nobody's.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        seconds = min(_LONGEST_S, max(1.0, bench.budget.left()))
        done = within(seconds, command, environment)
    if done is None:
        return Outcome({}, "skipped", f"not done in {seconds:.0f} s")
    return verdict(*done)


def within(
    seconds: float, command: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, str] | None:
    """Exit status and output of a command, or None if it was not done in time.

    Nothing of it runs on then: what the tool watches would still keep the GPU busy.
    """
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
    return process.returncode, output


def verdict(code: int, output: str) -> Outcome:
    """What a run of compute-sanitizer says.

    Args:
        code: its exit status.
        output: all that it and the suite printed.
    """
    summary = re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (.*)$", output, re.M)
    values = {"summary": summary[-1] if summary else None}
    if code == 0 and summary:
        return Outcome(values)
    if code == _FOUND:
        return Outcome({**values, "output": output[-4_000:]}, "failed", "it found faults")
    # A sandbox may refuse it the device: that says nothing of the kernels.
    return Outcome({**values, "output": output[-4_000:]}, "skipped", f"it did not run: exit {code}")
