"""Makes each peer an environment of its own, once; pins are in `<name>/requirements.txt`.

They cannot share one: their requirements contradict each other's and the project's.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

from honed_loadtest.errors import BenchError

FOLDER = Path(__file__).parents[3] / "build" / "peers"
_PINS = Path(__file__).parent
# As in the Makefile: say another build of it for a machine whose package index has many.
_TORCH = os.environ.get("TORCH", "torch==2.13.0")


def environment(name: str, beside: Path = _PINS) -> Path:
    """The folder of a peer's environment, made if its pins are not installed there.

    Args:
        name: Its folder, which holds its pins.
        beside: Where that folder lies.

    Raises:
        BenchError: Something cannot be installed; the message has pip's last line.
    """
    pins = (beside / name / "requirements.txt").read_text()
    folder = FOLDER / name
    stamp, wanted = folder / "honed.stamp", f"{sys.version}\n{pins}"
    if not (stamp.exists() and stamp.read_text() == wanted):
        venv.create(folder, with_pip=True, clear=True)
        if "\ntorch==" in pins:
            # Before anything that depends on it, which would bring the build for GPUs.
            _install(folder, _TORCH)
        _install(folder, "-r", str(beside / name / "requirements.txt"))
        stamp.write_text(wanted)
    return folder


def versions(folder: Path) -> dict[str, str]:
    """Name and version of all that is installed in an environment."""
    done = _pip(folder, "list", "--format", "freeze")
    return dict(line.split("==", 1) for line in done.stdout.split() if "==" in line)


def _install(folder: Path, *what: str) -> None:
    done = _pip(folder, "install", "--quiet", *what)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise BenchError(f"{' '.join(what)} cannot be installed: {last}")


def _pip(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True)
