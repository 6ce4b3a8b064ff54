"""The body of `honed bench`: from settings to a measurement, and from that to files and tables."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from honed_loadtest import page, report, result, simulation, summary
from honed_loadtest.errors import BenchError
from honed_loadtest.measure import measure
from honed_loadtest.options import Options
from honed_loadtest.scenarios import NAMES

INVALID, NOT_MEASURED = 1, 2


def run(
    scenario: str,
    settings: Mapping[str, Any],
    sides: tuple[str, str] | None,
    as_json: bool,
    out: Path | None,
    html: Path | None,
) -> int:
    """Measures a scenario and shows what was found.

    Args:
        scenario: Its name.
        settings: Fields of `Options`; paths and lists are taken as they come.
        sides: Two servers to compare.
        as_json: Print the result as one JSON object; else tables.
        out: Where to write the object.
        html: Where to write a page.

    Returns:
        The exit code: 0, INVALID if the result does not show the server, or NOT_MEASURED.
    """
    try:
        options = Options(**{name: _plain(value) for name, value in settings.items()})
        if scenario == simulation.NAME:
            return _simulate(options, as_json, out)
        if scenario not in NAMES:
            names = ", ".join((*NAMES, simulation.NAME))
            raise BenchError(f"there is no scenario {scenario!r}; say {names}")
        found = measure(scenario, options, sides, _command(), _say)
    except BenchError as error:
        _say(str(error))
        return NOT_MEASURED
    if out is not None:
        result.write(found, out)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page.html(found), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        report.show(summary.tables(found))
    for fault in found["why"]:
        _say(f"not valid: {fault}")
    return INVALID if found["invalid"] else 0


def _simulate(options: Options, as_json: bool, out: Path | None) -> int:
    found = simulation.simulate(options)
    line = json.dumps(found) + "\n"
    if out is not None:
        out.write_text(line, encoding="utf-8")
    if as_json:
        sys.stdout.write(line)
    else:
        report.show(simulation.tables(found))
    return 0


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case list():
            return tuple(value)
        case _:
            return value


def _command() -> str:
    return shlex.join(["honed", *sys.argv[1:]])


def _say(line: str) -> None:
    sys.stderr.write(f"honed bench: {line}\n")
