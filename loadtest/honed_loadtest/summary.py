"""A result for people: tables and a small picture of latency over time."""

from collections.abc import Sequence
from typing import Any

from honed_loadtest.report import Table, number, ranged
from honed_loadtest.result import Document

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms")


def tables(found: Document) -> list[Table]:
    """What is printed after a run."""
    shown = [_without_empty(_arms(found["arms"])), _runs(found["runs"])]
    shown += [_comparison(each) for each in found["comparisons"] if each["percentiles"]]
    if found["search"]:
        shown.append(_search(found["search"], found["settings"]["bound_ms"]))
    if found["loadgen"] is not None:
        shown.append(_generators(found["arms"][0], found["loadgen"]))
    return shown


def _without_empty(table: Table) -> Table:
    """The table without columns in which nothing stands."""
    kept = [n for n in range(len(table.columns)) if any(row[n] for row in table.rows)]
    columns, *rows = ([line[n] for n in kept] for line in (table.columns, *table.rows))
    return Table(table.title, columns, rows)


def _arms(arms: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            arm["arm"], arm["server"],
            _spread(arm["offered_per_s"]), _spread(arm["achieved_per_s"]),
            *_percentiles(arm["latency"]), _share(arm["refused"], arm["requests"]),
            _ms(arm["refusal"], "p99_ms"), _count(arm["failed"]),
            _ms(arm["label_to_served"], "p99_ms"), ranged(arm["client_cores"], 2),
        ]
        for arm in arms
    ]  # fmt: skip
    columns = [
        "arm", "server", "offered/s", "answers/s", *map(_named, _PERCENTILES),
        "refused", "refusal p99 ms", "failed", "label to served p99 ms", "client cores",
    ]  # fmt: skip
    return Table("Latency in ms, of all rounds", columns, rows)


def _runs(runs: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            run["arm"], run["server"], str(run["round"] + 1),
            sparkline([second["p99_ms"] for second in run["timeline"]]),
            _ms(run["latency"], "p99_ms"),
            str(sum(model["revisions"] for model in run["served"].values())),
            f"{run['client']['cpu_cores']:.2f}", f"{run['client']['late_p99_ms']:.1f}",
            "no" if run["invalid"] else "yes",
        ]
        for run in runs
    ]  # fmt: skip
    columns = [
        "arm", "server", "round", "p99 over time", "p99 ms", "revisions seen",
        "client cores", "sent late p99 ms", "valid",
    ]  # fmt: skip
    return Table("Runs", columns, rows)


def _comparison(found: dict[str, Any]) -> Table:
    rows = [
        [
            _named(name), ranged(of["first"]), ranged(of["second"]), f"{of['ratio']:.3f}",
            f"{of['low']:.3f} to {of['high']:.3f}",
        ]
        for name, of in found["percentiles"].items()
    ]  # fmt: skip
    columns = ["percentile", found["first"], found["second"], "ratio", "95 % interval"]
    return Table(f"Compared: medians and ranges, rounds: {found['rounds']}", columns, rows)


def _search(probes: Sequence[dict[str, Any]], bound_ms: float) -> Table:
    rows = [
        [
            probe["server"], number(probe["rate_per_s"]), number(probe["seconds"]),
            "" if probe["p99_ms"] is None else number(probe["p99_ms"]), _count(probe["failed"]),
            number(probe["client_cores"], 2), "yes" if probe["held"] else "no",
        ]
        for probe in probes
    ]  # fmt: skip
    columns = ["server", "offered/s", "seconds", "p99 ms", "failed", "client cores", "held"]
    return Table(f"The highest rate whose p99 holds {bound_ms:g} ms", columns, rows)


def _generators(arm: dict[str, Any], loadgen: dict[str, Any]) -> Table:
    rows = [
        [
            "honed bench", _spread(arm["achieved_per_s"]), *_percentiles(arm["latency"]),
            ranged(arm["client_cores"], 2), "",
        ],
        [
            "MLPerf LoadGen", f"{loadgen['achieved_per_s']:.1f}",
            *_percentiles(loadgen["latency"]), number(loadgen["client"]["cpu_cores"], 2),
            loadgen["result"],
        ],
    ]  # fmt: skip
    columns = ["generator", "answers/s", *map(_named, _PERCENTILES), "client cores", "its verdict"]
    return Table("Two generators at one rate, latency in ms", columns, rows)


def sparkline(values: Sequence[float | None]) -> str:
    """Bars from 0 to the highest value, at most 40; a gap where there is no value."""
    step = -(-len(values) // _WIDTH) or 1
    groups = [values[i : i + step] for i in range(0, len(values), step)]
    peaks = [max((v for v in group if v is not None), default=None) for group in groups]
    top = max((peak for peak in peaks if peak is not None), default=0.0) or 1.0
    return "".join(
        " " if peak is None else _BARS[round(peak / top * (len(_BARS) - 1))] for peak in peaks
    )


def _named(percentile: str) -> str:
    return percentile.removesuffix("_ms").replace("99_9", "99.9")


def _percentiles(found: dict[str, Any] | None) -> list[str]:
    return [_ms(found, name) for name in _PERCENTILES]


def _ms(found: dict[str, Any] | None, name: str) -> str:
    return "" if found is None else f"{found[name]:.1f}"


def _spread(found: dict[str, float] | None) -> str:
    return "" if found is None else ranged(found)


def _count(number: int) -> str:
    return str(number) if number else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if part else ""
