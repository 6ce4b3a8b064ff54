"""`make bench`: measures this machine, one JSON file a figure, and shows tables.

    python -m honed_loadtest.figures [NAME ...] [--seconds N] [--rounds N] [--quick]
    python -m honed_loadtest.figures --render

Without names it measures all. `--render` measures nothing: it makes the tables of
docs/measurements.md from docs/results.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from honed_loadtest import report
from honed_loadtest.bench import Bench, Plan
from honed_loadtest.datasets import DataMissing
from honed_loadtest.figures import (
    batch_rpc,
    beside,
    closed,
    footprint,
    front_end,
    gate,
    label_to_served,
    long_texts,
    many_models,
    overload,
    own_model,
    stream,
    swap,
)
from honed_loadtest.peers import results as peers
from honed_loadtest.peers.plot import svg

_DOCS = Path(__file__).parents[3] / "docs"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: how it is measured and how it is shown."""

    run: Callable[[Bench], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], Sequence[report.Table]]
    settings: Mapping[str, Any]

    @staticmethod
    def of(module: ModuleType) -> "Figure":
        """A module of `figures`."""
        return Figure(module.run, module.tables, module.SETTINGS)


FIGURES = {
    "closed": Figure.of(closed),
    "batch_rpc": Figure.of(batch_rpc),
    "long_texts": Figure.of(long_texts),
    "overload": Figure.of(overload),
    "many_models": Figure.of(many_models),
    "front_end": Figure.of(front_end),
    "label_to_served": Figure.of(label_to_served),
    "swap": Figure.of(swap),
    "beside": Figure.of(beside),
    "stream": Figure.of(stream),
    "own_model": Figure.of(own_model),
    "footprint": Figure.of(footprint),
    "gate": Figure.of(gate),
}


def measure(name: str, bench: Bench, command: str) -> report.Document:
    """Measures one figure."""
    figure, machine, commit = FIGURES[name], report.machine(), report.commit()
    bench.faults.clear()
    results = figure.run(bench)
    return report.Document(
        figure=name,
        command=command,
        commit=commit,
        date=report.now(),
        versions=report.versions(),
        machine=machine,
        settings=bench.settings() | dict(figure.settings),
        results=results,
        faults=list(bench.faults),
    )


def render(results: Path, page: Path) -> None:
    """Puts the tables of all results into the page, between its markers."""
    sections = []
    for name, figure in FIGURES.items():
        path = results / f"{name}.json"
        if path.exists():
            document = report.Document.read(path)
            sections.append(report.markdown(document, figure.tables(document.results)))
    if (results / "peers.json").exists():
        sections.append(_beside_peers(results / "peers.json", page))
    text = report.put_between_markers(page.read_text(), "\n\n".join(sections))
    page.write_text(text)


def _beside_peers(path: Path, page: Path) -> str:
    """The section of what `make bench-peers` measured; draws its picture beside the page."""
    document = report.Document.read(path)
    page.with_name("peers.svg").write_text(svg(document.results))
    section = report.markdown(document, peers.tables(document.results))
    return f"{section}\n\n![Answers a second of each server](peers.svg)"


def main(argv: Sequence[str]) -> int:
    """Measures or renders; returns the exit code."""
    options = _parser().parse_args(argv)
    if options.render:
        render(options.output or _DOCS / "results", options.page)
        return 0
    plan = Plan.quick() if options.quick else Plan()
    plan = replace(
        plan, seconds=options.seconds or plan.seconds, rounds=options.rounds or plan.rounds
    )
    folder = options.output or (_DOCS / "results" if plan == Plan() else Path("build/results"))
    command = " ".join(["python -m honed_loadtest.figures", *argv])
    with tempfile.TemporaryDirectory(prefix="honed-bench-") as scratch:
        bench = Bench(plan, Path(scratch))
        for name in options.names or FIGURES:
            try:
                document = measure(name, bench, command)
            except DataMissing as error:
                sys.stderr.write(f"{error}\n")
                return 2
            report.show(FIGURES[name].tables(document.results))
            sys.stdout.write(f"{document.write(folder)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m honed_loadtest.figures", description="Measure this machine."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--seconds", type=float, help="of each arm in each round")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--quick", action="store_true", help="only show that all of it runs")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--render", action="store_true", help="make the page from the results")
    parser.add_argument("--page", type=Path, default=_DOCS / "measurements.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
