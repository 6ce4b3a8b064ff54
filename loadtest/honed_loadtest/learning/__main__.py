"""`make bench-learning`: learning beside what a user would pick instead.

    python -m honed_loadtest.learning [STREAM ...] [--csv FILE] [--jobs N] [--prepare] [--quick]
    python -m honed_loadtest.learning --render

A stream is a data set, `banking77`, or one form of it, `banking77/noisy`, where `banking77/rounds`
is what fine-tuning adds; without any it runs all. `--csv` runs all forms of any file with the
columns `text,label`, or the order of time of one with `date,text,label`. The result is
`learning.json`, tables and a plot, written after each job; when a run was cut off, the same command
goes on with the jobs that are not done. What a file or this machine lacks is told, and is in the
result: rows that cannot be learned, forms that do not apply, contestants that are not installed.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: CPU time by label is that of one core, as in the adapt process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from honed_loadtest import report
from honed_loadtest.errors import BenchError
from honed_loadtest.learning import material, rounds
from honed_loadtest.learning.catalogue import DATED_FORMS, FILE_FORMS, HONED, STREAMS, Plan
from honed_loadtest.learning.jobs import Job, by_worth, of_data
from honed_loadtest.learning.measurement import Measurement
from honed_loadtest.learning.plot import svg
from honed_loadtest.learning.preparing import prepared
from honed_loadtest.learning.tables import tables

_DOCS = Path(__file__).parents[3] / "docs"
_BUILD = Path(__file__).parents[3] / "build"


def main(argv: Sequence[str]) -> int:
    """Measures or renders; returns the exit code: 1 if a job failed."""
    options = _parser().parse_args(argv)
    if options.render:
        render(options.output or _DOCS / "results", options.page)
        return 0
    plan = _plan(options)
    whole = plan == Plan() and not (options.streams or options.csv or options.alone)
    folder = options.output or (_DOCS / "results" if whole else _BUILD / "results")
    command = " ".join(["python -m honed_loadtest.learning", *argv])
    try:
        jobs = by_worth(_jobs(plan, options.streams, options.csv))
        if options.alone:
            jobs = [job for job in jobs if job.kind != "stream" or job.contestant == HONED]
        jobs, missing = prepared(jobs, plan, _BUILD)
        for where, who, why in missing:
            sys.stderr.write(f"not measured: {', '.join(filter(None, (where, who)))}: {why}\n")
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.prepare:
        return 0
    measurement = Measurement(plan, jobs, missing, _BUILD, folder, command)
    measurement.run(max(1, options.jobs))
    document = measurement.document()
    report.show(tables(document.results))
    sys.stdout.write(f"{measurement.path}\n")
    return 1 if measurement.failed else 0


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan.quick() if options.quick else Plan()
    return replace(
        plan,
        seeds=options.seeds or plan.seeds,
        limit=options.limit or plan.limit,
        delay=options.delay,
        environments=plan.environments and not options.no_environments,
        rounds=plan.rounds and not options.no_rounds,
        product=plan.product and not (options.streams or options.csv),
    )


def _jobs(plan: Plan, names: Sequence[str], file: Path | None) -> Iterator[Job]:
    if plan.product:
        yield Job("product")
    if file is not None:
        if names:
            raise BenchError("name streams or give --csv, not both")
        data = material.of_file(file.absolute(), plan.limit)
        all_forms = DATED_FORMS if data.dated else FILE_FORMS
        yield from of_data(str(file.absolute()), all_forms, rounds.periods(data), plan)
        return
    chosen: dict[str, list[str]] = {}
    for name in names or STREAMS:
        folder, _, form = name.partition("/")
        known = STREAMS.get(folder, ())
        if not known or (form and form not in known):
            raise BenchError(f"there is no stream {name}; there are {', '.join(STREAMS)}")
        chosen.setdefault(folder, []).extend([form] if form else known)
    for name, forms in chosen.items():
        yield from of_data(name, forms, rounds.periods(material.named(name, plan.limit)), plan)


def render(results: Path, page: Path) -> None:
    """Puts the tables and the plot of `learning.json` into the page, between its markers."""
    document = report.Document.read(results / "learning.json")
    page.with_name("learning.svg").write_text(svg(document.results))
    section = report.markdown(document, tables(document.results))
    text = f"{section}\n\n![Accuracy by labels learned](learning.svg)"
    page.write_text(report.put_between_markers(page.read_text(), text, "learning"))


def _positive(text: str) -> int:
    """Raises ValueError if it is no whole number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m honed_loadtest.learning", description="Measure learning from a stream."
    )
    parser.add_argument("streams", nargs="*", metavar="STREAM", help="such as banking77/random")
    parser.add_argument("--csv", type=Path, help="text,label or date,text,label")
    parser.add_argument("--seeds", type=_positive, help="orders of each form that is random")
    parser.add_argument("--limit", type=_positive, help="rows of each part of a data set")
    parser.add_argument("--delay", type=int, default=0, help="rows by which labels come late")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="jobs at a time: the cores"
    )
    parser.add_argument("--quick", action="store_true", help="only show that all of it runs")
    parser.add_argument("--alone", action="store_true", help="Honed without the others")
    parser.add_argument(
        "--no-environments", action="store_true", help="leave out those with their own environment"
    )
    parser.add_argument("--no-rounds", action="store_true", help="leave out fine-tuning")
    parser.add_argument("--prepare", action="store_true", help="only make environments and vectors")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--render", action="store_true", help="make the page from the results")
    parser.add_argument("--page", type=Path, default=_DOCS / "measurements.md")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that jobs are ended, too
    sys.exit(main(sys.argv[1:]))
