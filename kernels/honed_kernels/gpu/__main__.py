"""`python -m honed_kernels.gpu`: ten minutes on a GPU, or a dry run of it without one.

It ends with 1 if a kernel is wrong, did not run or failed; an aim that was missed is a result.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.util import find_spec
from typing import Any

from honed_kernels.gpu.options import parser


def main() -> int:
    """Run it, print a summary, and return the exit status."""
    options = parser().parse_args()
    if missing := [name for name in ("torch", "triton") if find_spec(name) is None]:
        parser().error(f"{' and '.join(missing)} missing: pip install 'honed[kernels]'")
    if options.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"
        # NumPy tells of the infinities and NaN that kernels make and then mask.
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
    else:
        os.environ.pop("TRITON_INTERPRET", None)
    import torch

    from honed_kernels.gpu.session import measure

    if not options.dry_run and not torch.cuda.is_available():
        parser().error(f"torch {torch.__version__} sees no GPU; --dry-run needs none")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    document = measure(
        options.out,
        dry_run=options.dry_run,
        suite=options.suite,
        only=options.only,
        seconds=options.seconds,
        command=" ".join(["python -m honed_kernels.gpu", *sys.argv[1:]]),
    )
    sys.stdout.write("\n".join([*_summary(document), str(options.out), ""]))
    return int(bool(document["problems"]))


def _summary(document: dict[str, Any]) -> list[str]:
    lines = []
    for part in document["parts"]:
        statuses = [case["status"] for case in part["cases"]]
        counts = ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses))
        lines.append(f"{part['name']:<10} {part['status']:<8} {counts}  {part['why']}".rstrip())
    words = {True: "reached", False: "missed", None: "not judged"}
    for aim in document["aims"]:
        value = "-" if aim["value"] is None else f"{aim['value']:.3g}"
        lines.append(f"{words[aim['reached']]:<10} {value:>8} of {aim['wanted']:<5g} {aim['says']}")
    return [*lines, *(f"PROBLEM {text}" for text in document["problems"])]


if __name__ == "__main__":
    sys.exit(main())
