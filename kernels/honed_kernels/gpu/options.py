"""The command line of the script; importing it loads neither PyTorch nor Triton."""

from __future__ import annotations

import argparse
from pathlib import Path

PARTS = (
    "correct",
    "swaps",
    "ceilings",
    "grouped",
    "pooled",
    "large",
    "training",
    "others",
    "sanitizer",
    "sweep",
)
"""In order of their value: what comes last is left out first."""

SECONDS = 540.0
"""No case begins later, so that all is over within ten minutes."""


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser(
        prog="python -m honed_kernels.gpu",
        description="Check every kernel on a GPU, and measure it beside what others offer.",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="all of it on a CPU, small, in Triton's interpreter"
    )
    made.add_argument("--out", type=Path, default=Path("gpu.json"), help="where results go")
    made.add_argument(
        "--only", nargs="+", choices=PARTS, default=[], metavar="PART", help=", ".join(PARTS)
    )
    made.add_argument(
        "--seconds", type=float, default=SECONDS, help="no case begins later (default: %(default)g)"
    )
    made.add_argument("--suite", action="store_true", help="small checks, for compute-sanitizer")
    return made
