"""`make bench-peers`: Honed and other servers on this machine, with the same model and texts.

    python -m honed_loadtest.peers [NAME ...] [--seconds N] [--rounds N] [--quick]

Without arguments all peers are measured, and docs/results, the tables of docs/measurements.md and
the picture there are made anew. `--quick` shows with the naive queue that the machinery runs. Exit
code 1: the result says why it is not valid.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from honed_loadtest import report
from honed_loadtest.bench import Bench, Plan
from honed_loadtest.errors import BenchError
from honed_loadtest.figures.__main__ import render
from honed_loadtest.peers import results
from honed_loadtest.peers.catalogue import PEERS, Peer
from honed_loadtest.peers.entries import CHECKED_TEXTS, CONCURRENCY
from honed_loadtest.peers.measure import compare

_DOCS = Path(__file__).parents[3] / "docs"
_INVALID, _NOT_MEASURED = 1, 2


def main(argv: Sequence[str]) -> int:
    """Measures and shows; returns the exit code."""
    options = _parser().parse_args(argv)
    quick, whole = options.quick, not (options.names or options.quick)
    names = options.names or (["naive"] if quick else [])
    peers = [peer for peer in PEERS if whole or peer.folder in names]
    usual = Plan(seconds=15)
    plan = replace(Plan.quick() if quick else usual, **_given(options))
    whole = whole and plan == usual
    folder = options.output or (_DOCS / "results" if whole else Path("build/results"))
    try:
        document = measure(peers, plan, " ".join(["python -m honed_loadtest.peers", *argv]))
    except BenchError as error:
        _say(str(error))
        return _NOT_MEASURED
    report.show(results.tables(document.results))
    sys.stdout.write(f"{document.write(folder)}\n")
    if whole:
        render(folder, _DOCS / "measurements.md")
    for name, why in document.results["failed"].items():
        _say(f"{name} is missing: {why}")
    for fault in document.faults:
        _say(f"not valid: {fault}")
    return _INVALID if document.faults and not quick else 0


def measure(peers: Sequence[Peer], plan: Plan, command: str) -> report.Document:
    """Measures Honed and the peers."""
    machine, commit = report.machine(), report.commit()
    with tempfile.TemporaryDirectory(prefix="honed-peers-") as scratch:
        found = compare(Bench(plan, Path(scratch)), peers, Path(scratch), _say)
    return report.Document(
        figure="peers",
        command=command,
        commit=commit,
        date=report.now(),
        versions=report.versions(),
        machine=machine,
        settings=asdict(plan)
        | {"concurrency": CONCURRENCY, "checked_texts": CHECKED_TEXTS, "needed": results.NEEDED},
        results=results.summary(found),
        faults=results.faults(found),
    )


def _given(options: argparse.Namespace) -> dict[str, Any]:
    chosen = {"seconds": options.seconds, "rounds": options.rounds}
    return {name: value for name, value in chosen.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m honed_loadtest.peers", description="Measure Honed beside other servers."
    )
    names = ", ".join(peer.folder for peer in PEERS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {names}")
    parser.add_argument("--seconds", type=float, help="of each side, half of it at concurrency 1")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--quick", action="store_true", help="only show that all of it runs")
    parser.add_argument("--output", type=Path, help="folder of the results")
    return parser


def _say(line: str) -> None:
    sys.stderr.write(f"bench-peers: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
