"""What learning showed, as tables for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from honed_loadtest.learning.measures import REACHED
from honed_loadtest.report import Table, number

Run = Mapping[str, Any]

_NONE = "-"


def tables(results: Mapping[str, Any]) -> list[Table]:
    """The aims, what fine-tuning adds, a table for each stream, and what stands beside them."""
    found = [_aims(results["aims"])]
    if results["rounds"]:
        found.append(_rounds(results["rounds"]))
    names = dict.fromkeys(run["stream"] for run in results["runs"])
    found += [_stream([r for r in results["runs"] if r["stream"] == name]) for name in names]
    if results["product"]:
        product = {key: one for key, one in results["product"].items() if key != "cpu_s"}
        rows = [[name, _text(value)] for name, value in _flat(product)]
        found.append(Table("Through the public API, on a real server", ["what", "found"], rows))
    rows = [[name, how] for name, how in results["settings"].items()]
    found.append(Table("Contestants", ["contestant", "settings"], rows))
    if results["missing"]:
        found.append(_missing(results["missing"]))
    return found


def _missing(missing: Sequence[Run]) -> Table:
    grouped: dict[tuple[str, str], list[str]] = {}
    for one in missing:
        grouped.setdefault((one["stream"], one["why"]), []).append(one["contestant"])
    rows = [[stream, "; ".join(filter(None, who)), why] for (stream, why), who in grouped.items()]
    return Table("Not measured", ["stream", "contestants", "why"], rows)


def _aims(aims: Sequence[Run]) -> Table:
    rows = [
        [one["aim"], f"{one['sign']} {_text(one['wanted'])}", _text(one["found"]),
         "yes" if one["reached"] else "no"]
        for one in aims
    ]  # fmt: skip
    return Table("Aims", ["aim", "wanted", "found", "reached"], rows)


def _rounds(rounds: Sequence[Run]) -> Table:
    columns = ["data", "texts asked", "instant lane", "after a round", "points gained",
               "CPU minutes"]  # fmt: skip
    rows = [
        [
            one["data"], number(one["asked"]), number(one["instant"], 4),
            number(one["periodic"], 4), f"{100 * (one['periodic'] - one['instant']):+.1f}",
            number(one["cpu_s"] / 60),
        ]
        for one in rounds
    ]  # fmt: skip
    return Table("What fine-tuning adds: accuracy", columns, rows)


def _stream(runs: Sequence[Run]) -> Table:
    """Contestants by numbers, without the numbers that none of them has."""
    most = max(run["summary"]["labels"] for run in runs)
    columns: dict[str, Callable[[Run], str]] = {
        "contestant": lambda run: run["name"] + (" (told all classes)" if run["told"] else ""),
        "orders": lambda run: number(run["summary"]["stream"]["seeds"]),
        "accuracy before learning": lambda run: _mean(run["summary"]["stream"]),
        "test accuracy at the end": lambda run: _mean(run["summary"]["final"]),
        "lowest on classes seen": lambda run: _mean(run["summary"]["lowest"]),
        "forgetting": lambda run: _mean(run["summary"]["forgetting"]),
        "out-of-scope AUROC": lambda run: _mean(run["summary"]["auroc"]),
        **{f"labels to {share:.0%}": _reached(share) for share in REACHED},
        "CPU ms a label": lambda run: _mean(run["summary"]["learn_ms"], 2),
        "CPU ms an answer": lambda run: _mean(run["summary"]["answer_ms"], 2),
    }
    cells = {name: [value(run) for run in runs] for name, value in columns.items()}
    kept = [name for name, column in cells.items() if any(cell != _NONE for cell in column)]
    rows = list(zip(*(cells[name] for name in kept), strict=True))
    return Table(f"{runs[0]['stream']}, {most:,} labels", kept, rows)


def _reached(share: float) -> Callable[[Run], str]:
    return lambda run: _text(run["summary"]["reached"][str(share)])


def _mean(found: Mapping[str, float] | None, digits: int = 3) -> str:
    if found is None:
        return _NONE
    text = number(float(found["mean"]), digits)
    return f"{text} ± {found['sd']:.{digits}f}" if found["seeds"] > 1 else text


def _text(value: object) -> str:
    if value is None or value == []:
        return _NONE
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:.2g}" if abs(value) < 1e-3 else number(value, 3)
    return str(value)


def _flat(found: Mapping[str, Any], before: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in found.items():
        title = f"{before}{name.replace('_', ' ')}"
        rows += _flat(value, f"{title}: ") if isinstance(value, Mapping) else [(title, value)]
    return rows
