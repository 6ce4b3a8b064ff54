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
from honed_loadtest.scenarios import closed, footprint, label_to_served, stream, swap

_DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One figure: how it is measured and how it is shown."""

    run: Callable[[Bench], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], Sequence[report.Table]]
    settings: Mapping[str, Any]

    @staticmethod
    def of(module: ModuleType) -> "Scenario":
        """A module of `scenarios`."""
        return Scenario(module.run, module.tables, module.SETTINGS)


SCENARIOS = {
    "closed": Scenario.of(closed),
    "label_to_served": Scenario.of(label_to_served),
    "swap": Scenario.of(swap),
    "stream": Scenario.of(stream),
    "footprint": Scenario.of(footprint),
}


def measure(name: str, bench: Bench, command: str) -> report.Document:
    """Measures one figure."""
    scenario, machine, commit = SCENARIOS[name], report.machine(), report.commit()
    results = scenario.run(bench)
    return report.Document(
        figure=name,
        command=command,
        commit=commit,
        date=report.now(),
        versions=report.versions(),
        machine=machine,
        settings=bench.settings() | dict(scenario.settings),
        results=results,
    )


def render(results: Path, page: Path) -> None:
    """Puts the tables of all results into the page, between its markers."""
    sections = []
    for name, scenario in SCENARIOS.items():
        path = results / f"{name}.json"
        if path.exists():
            document = report.Document.read(path)
            sections.append(report.markdown(document, scenario.tables(document.results)))
    text = report.put_between_markers(page.read_text(), "\n\n".join(sections))
    page.write_text(text)


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
        for name in options.names or SCENARIOS:
            try:
                document = measure(name, bench, command)
            except DataMissing as error:
                sys.stderr.write(f"{error}\n")
                return 2
            report.show(SCENARIOS[name].tables(document.results))
            sys.stdout.write(f"{document.write(folder)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m honed_loadtest.figures", description="Measure this machine."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, help="of each arm in each round")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--quick", action="store_true", help="only show that all of it runs")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--render", action="store_true", help="make the page from the results")
    parser.add_argument("--page", type=Path, default=_DOCS / "measurements.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
