"""From what was measured to what is written down and shown: results, tables and the plot."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from honed_loadtest import validity
from honed_loadtest.peers.entries import CHECKED_TEXTS, CONCURRENCY, HONED, Entry, Found, Visit
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.statistics import Latencies, spread

NEEDED = 4
"""So many peers must run, else nobody is the best of them."""

BY_SETTINGS, BY_CODE = "by settings alone", "sorted by the user's code"

_VERSIONS = {
    "LitServe": "litserve", "Ray Serve": "ray", "MLServer": "mlserver", "BentoML": "bentoml",
    "PyTriton": "nvidia-pytriton", "infinity": "infinity_emb",
}  # fmt: skip


def summary(found: Found) -> dict[str, Any]:
    """What the results hold: each entry, the best peer at each concurrency, and what is missing."""
    servers = [_server(entry, visits) for entry, visits in found.visits.items()]
    return {
        "servers": servers,
        "best": {
            how: {str(c): _best(servers, str(c), group) for c in CONCURRENCY}
            for how, group in ((BY_SETTINGS, False), (BY_CODE, True))
        },
        "failed": found.failed,
        "versions": found.versions,
    }


def faults(found: Found) -> list[str]:
    """Why the results are no comparison; empty if they are."""
    ran = {entry.name for entry, visits in found.visits.items() if _counts(entry, visits)}
    few = [f"only {len(ran)} peers ran, of {NEEDED} that are needed"] if len(ran) < NEEDED else []
    return few + [
        f"{entry.name}, {entry.variant}, concurrency {c}: {fault}"
        for entry, visits in found.visits.items()
        for visit in visits
        for c, outcome in visit.closed.items()
        for fault in validity.faults(outcome)
    ]


def _counts(entry: Entry, visits: Sequence[Visit]) -> bool:
    """Whether it may be the best peer: it must answer as Honed does."""
    same = all(visit.agreeing == CHECKED_TEXTS for visit in visits)
    return same and entry.peer is not None and entry.peer.counts


def _server(entry: Entry, visits: Sequence[Visit]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "variant": entry.variant,
        "settings": asdict(entry.settings) if entry.settings else {},
        "last": entry.last,
        "counts": _counts(entry, visits),
        "same_labels": min(visit.agreeing for visit in visits),
        "rounds": len(visits),
        "ready_s": spread([visit.ready_s for visit in visits]),
        "pss_mb": spread([visit.pss_mb for visit in visits]),
        "closed": {str(c): _closed(visits, c) for c in CONCURRENCY},
    }


def _closed(visits: Sequence[Visit], concurrency: int) -> dict[str, Any]:
    outcomes = [visit.closed[concurrency] for visit in visits]
    each = [Latencies.of(outcome.latencies_s) for outcome in outcomes]
    return {
        "per_s": spread([outcome.per_s for outcome in outcomes]),
        "p50_ms": spread([one.p50_ms for one in each]),
        "p99_ms": spread([one.p99_ms for one in each]),
        "client_cpu_ms_a_request": spread([o.cpu_ms_per_request for o in outcomes]),
        "errors": sum(sum(outcome.failures.values()) for outcome in outcomes),
    }


def _best(
    servers: Sequence[Mapping[str, Any]], concurrency: str, sorts: bool
) -> dict[str, Any] | None:
    """Honed beside the peer that answered most, and beside the quickest: not always the same."""

    def of(server: Mapping[str, Any], what: str) -> float:
        return float(server["closed"][concurrency][what]["median"])

    # In float32, as the peers are; the table has Honed in integers beside.
    honed = next((s for s in servers if (s["name"], s["variant"]) == (HONED, "fp32")), None)
    peers = [
        each for each in servers if each["counts"] and (sorts or not each["settings"]["group"])
    ]
    if honed is None or not peers:
        return None
    found: dict[str, Any] = {}
    for what, best in (("per_s", max), ("p50_ms", min), ("p99_ms", min)):
        peer = best(peers, key=partial(of, what=what))
        ratio = of(honed, what) / of(peer, what)
        named = f"{peer['name']}, {peer['variant']}"
        found[what] = {"peer": named, "value": of(peer, what), "ratio": round(ratio, 3)}
    return found


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """Every entry at each concurrency, what each needs, and Honed over the best peer."""
    servers = results["servers"]
    shown = [
        Table(f"Closed loop, concurrency {c}", _COLUMNS, [_row(s, str(c)) for s in servers])
        for c in reversed(CONCURRENCY)
    ]
    needs = [[*_named(each), number(each["pss_mb"]["median"], 0),
              ranged(each["ready_s"]), _told(each["settings"]), str(each["same_labels"])]
             for each in servers]  # fmt: skip
    columns = [
        "server", "version", "settings", "PSS MB, all processes", "seconds to the first answer",
        "in detail", f"labels as Honed's, of {CHECKED_TEXTS}",
    ]  # fmt: skip
    versions = results["versions"]
    for row in needs:
        row.insert(1, versions.get(row[0], {}).get(_VERSIONS.get(row[0], ""), ""))
    shown += [
        Table("What each needs", columns, needs),
        Table(
            "Honed over the best peer (the naive queue does not count)",
            ["the peer at its best", "concurrency", "answers/s", "p50", "p99"],
            [[how, c, *(_ratio(best, what) for what in ("per_s", "p50_ms", "p99_ms"))]
             for how, found in results["best"].items() for c, best in found.items()],
        ),
    ]  # fmt: skip
    failed = [[name, why.replace("|", "/")] for name, why in results["failed"].items()]
    return [*shown, Table("Did not run", ["peer", "why"], failed)] if failed else shown


_COLUMNS = ["server", "settings", "answers/s", "p50 ms", "p99 ms", "client CPU ms", "errors"]


def _named(server: Mapping[str, Any]) -> list[str]:
    return [server["name"], server["variant"]]


def _row(server: Mapping[str, Any], concurrency: str) -> list[str]:
    of = server["closed"][concurrency]
    figures = [ranged(of[what]) for what in ("per_s", "p50_ms", "p99_ms")]
    cpu = ranged(of["client_cpu_ms_a_request"], 2)
    return [*_named(server), *figures, cpu, str(of["errors"])]


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items())


def _ratio(best: Mapping[str, Any] | None, what: str) -> str:
    return "" if best is None else f"{best[what]['ratio']:.2f} ({best[what]['peer']})"
