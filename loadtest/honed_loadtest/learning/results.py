"""What learning showed, as it is written down: the jobs' findings put together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from honed_loadtest.learning.aims import aims, recent
from honed_loadtest.learning.catalogue import ENTRIES
from honed_loadtest.learning.jobs import Job
from honed_loadtest.learning.measures import REACHED, spread

Found = Mapping[str, Any]
Missing = tuple[str, str, str]
"""A stream or "all", a contestant or "" for all of them, and why it is not measured."""

_SPREAD = ("stream", "stream_first", "final", "first", "lowest", "forgetting", "auroc",
           "learn_ms", "answer_ms")  # fmt: skip


def results(
    jobs: Sequence[Job],
    findings: Mapping[Job, Found],
    late: Mapping[Job, str],
    left_out: Sequence[Missing],
) -> dict[str, Any]:
    """All results so far.

    Args:
        jobs: All that were planned.
        findings: What those found that are done.
        late: Those that are not, and why.
        left_out: What was not planned, and why.
    """
    missing = [(job.stream, job.contestant, why) for job, why in late.items()]
    missing += left_out
    found: dict[str, Any] = {
        "runs": _runs(jobs, findings),
        "rounds": _rounds(jobs, findings),
        "product": next((findings[j] for j in findings if j.kind == "product"), None),
        "missing": [
            {"stream": where, "contestant": who, "why": why}
            for where, who, why in dict.fromkeys(missing)
        ],
        "settings": {entry.name: entry.settings for entry in ENTRIES},
        "cpu_s": round(sum(one["cpu_s"] for one in findings.values()), 1),
    }
    return {**found, "aims": aims(found)}


def summary(runs: Sequence[Found]) -> dict[str, Any]:
    """The numbers of one contestant on one stream over the seeds, as `measures` found them."""
    found: dict[str, Any] = {name: spread(runs, name) for name in _SPREAD}
    named = (name for run in runs for name in run.get("suspects", ()))
    found["suspects"] = list(dict.fromkeys(named))
    found["labels"] = max(run["labels"] for run in runs)
    found["reached"] = {
        str(share): _median([run["reached"].get(str(share)) for run in runs]) for share in REACHED
    }
    return found


def _runs(jobs: Sequence[Job], findings: Mapping[Job, Found]) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str, str], list[Found]] = {}
    for job in jobs:
        if job.kind == "stream" and job in findings:
            key = (job.name, job.stream, job.contestant)
            grouped.setdefault(key, []).append(findings[job])
    places = {data: at for at, data in enumerate(dict.fromkeys(job.name for job in jobs))}
    entries = {entry.name: entry for entry in ENTRIES}
    found = []
    for (_, stream, name), runs in sorted(grouped.items(), key=lambda one: places[one[0][0]]):
        errors = [e for run in runs if (e := run.get("deletion_error")) is not None]
        found.append({
            "name": name, "told": entries[name].told, "stream": stream,
            "every": entries[name].every, "summary": summary(runs), "recent": recent(runs),
            "curve": runs[0]["curve"], "recipe": runs[0].get("recipe"),
            "deletion_error": max(errors, default=None),
            "seeds": [{key: run[key] for key in run if key not in ("curve", "recipe")}
                      for run in runs],
        })  # fmt: skip
    return found


def _rounds(jobs: Sequence[Job], findings: Mapping[Job, Found]) -> list[dict[str, Any]]:
    """By data set; the periods of a dated one together if all are done, else each by itself."""
    grouped: dict[str, list[Job]] = {}
    for job in jobs:
        if job.kind == "rounds":
            grouped.setdefault(job.name, []).append(job)
    found = []
    for data, many in grouped.items():
        done = [job for job in many if job in findings]
        if len(done) == len(many):
            found.append(_together(data, done, findings))
        else:
            found += [_together(f"{data}, {job.form}", [job], findings) for job in done]
    return found


def _together(data: str, jobs: Sequence[Job], findings: Mapping[Job, Found]) -> dict[str, Any]:
    parts = [{"period": job.form, **findings[job]} for job in jobs]
    asked = sum(part["asked"] for part in parts)
    shares = {
        name: round(sum(part[name] * part["asked"] for part in parts) / asked, 4)
        for name in ("instant", "periodic")
    }
    cpu_s = round(sum(part["cpu_s"] for part in parts), 1)
    return {"data": data, **shares, "asked": asked, "cpu_s": cpu_s, "parts": parts}


def _median(values: Sequence[int | None]) -> int | None:
    """The middle one; None if most never got there."""
    known = sorted(float("inf") if value is None else value for value in values)
    middle = known[len(known) // 2]
    return None if middle == float("inf") else int(middle)
