"""`make demo` passes, and fails when an answer was mixed or lost."""

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.parametrize(
    ("flags", "code", "failed"),
    [
        ([], 0, None),
        (["--plant", "mixed"], 1, "1 mixed answers"),
        (["--plant", "lost"], 1, "1 lost"),
    ],
)
def test_the_demo_tells_the_truth(flags, code, failed):
    done = subprocess.run([sys.executable, DEMO, *flags], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    if failed is None:
        assert "FAILED" not in done.stdout
    else:
        assert failed in done.stdout
        assert done.stdout.count("FAILED") == 2  # as it happens and in the table
