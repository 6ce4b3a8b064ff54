"""What one arm showed in one round, as results hold it: counts, distributions, timeline, marks."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from honed_loadtest import histogram, validity
from honed_loadtest.arm import Arm
from honed_loadtest.load import Outcome
from honed_loadtest.marks import Mark
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.samples import Samples

OK, REFUSED = 0, 8  # gRPC status codes: OK, RESOURCE_EXHAUSTED


def described(
    arm: Arm, round_number: int, outcome: Outcome, marks: Sequence[Mark]
) -> dict[str, Any]:
    """The run as `schema.json` has it."""
    samples, answers = outcome.samples, outcome.answers
    refused = samples[samples["status"] == REFUSED]
    profile = arm.job.profile
    closed = isinstance(profile, ClosedLoop)
    within = [mark for mark in marks if 0 <= mark.at - outcome.began < outcome.seconds]
    labels = [mark for mark in within if mark.kind == "label"]
    waits_s = _waits_s(labels, marks)
    return {
        "arm": arm.name,
        "server": arm.stage.name,
        "round": round_number,
        "loop": "closed" if closed else "open",
        "concurrency": profile.concurrency if isinstance(profile, ClosedLoop) else None,
        "seconds": round(outcome.seconds, 3),
        "timeout_s": arm.job.timeout_s,
        "offered_per_s": None if closed else round(len(samples) / outcome.seconds, 2),
        "achieved_per_s": round(outcome.per_s, 2),
        "requests": len(samples),
        "answered": len(answers),
        "refused": len(refused),
        "failed": len(samples) - len(answers) - len(refused),
        "failures": outcome.failures,
        "latency": histogram.described(outcome.latencies_s),
        "service": histogram.described(answers["ended"] - answers["sent"]),
        "queued": histogram.described(answers["queued_s"]),
        "computed": histogram.described(answers["computed_s"]),
        "refusal": histogram.described(refused["ended"] - refused["due"]),
        "label_to_served": histogram.described(waits_s),
        "served": _served(arm, answers),
        "client": {
            "processes": len(outcome.cpus_s),
            "cpu_cores": round(outcome.cpu_share, 3),
            "busiest": round(max(outcome.cpus_s) / outcome.seconds, 3),
            "late_p99_ms": round(validity.lateness_s(outcome) * 1e3, 3),
        },
        "timeline": timeline(samples, outcome.seconds),
        "marks": [_marked(mark, outcome.began) for mark in within],
        "invalid": validity.faults(outcome, unserved=len(labels) - len(waits_s)),
    }


def timeline(samples: Samples, seconds: float) -> list[dict[str, Any]]:
    """What became of the requests that were due in each second, and what was finished in it."""
    due, ended = samples["due"].astype(int), samples["ended"].astype(int)
    answered = samples["status"] == OK
    return [
        _second(n, samples[due == n], int((answered & (ended == n)).sum()))
        for n in range(int(np.ceil(seconds)))
    ]


def _second(number: int, samples: Samples, finished: int) -> dict[str, Any]:
    answers = samples[samples["status"] == OK]
    refused = int((samples["status"] == REFUSED).sum())
    row = {
        "second": number,
        "requests": len(samples),
        "answered": len(answers),
        "refused": refused,
        "failed": len(samples) - len(answers) - refused,
        "finished": finished,
    }
    latencies_ms = (answers["ended"] - answers["due"]) * 1e3
    if not latencies_ms.size:
        return row | {"p50_ms": None, "p99_ms": None, "max_ms": None}
    ranks = np.percentile(latencies_ms, [50, 99, 100], method="inverted_cdf")
    return row | dict(zip(("p50_ms", "p99_ms", "max_ms"), ranks.round(3).tolist(), strict=True))


def _waits_s(labels: Sequence[Mark], marks: Sequence[Mark]) -> list[float]:
    """Seconds from each label's acknowledgement until an event said that it had been learned."""
    served = {(m.model, m.position): m.at for m in marks if m.kind == "served"}
    found = ((label.at, served.get((label.model, label.position))) for label in labels)
    return [end - at for at, end in found if end is not None]


def _served(arm: Arm, answers: Samples) -> dict[str, dict[str, Any]]:
    """By model: how many answers, and from how many versions and revisions."""
    models = [model for model, _ in arm.job.questions]
    counts: Counter[str] = Counter()
    generations: dict[str, set[tuple[int, int]]] = {}
    for question, *generation in answers[["question", "version", "revision"]].tolist():
        counts[models[question]] += 1
        generations.setdefault(models[question], set()).add((generation[0], generation[1]))
    return {
        model: {
            "answers": count,
            "versions": sorted({version for version, _ in generations[model]}),
            "revisions": len(generations[model]),
        }
        for model, count in counts.most_common()
    }


def _marked(mark: Mark, began: float) -> dict[str, Any]:
    return {
        "at_s": round(mark.at - began, 4),
        "kind": mark.kind,
        "model": mark.model,
        "version": mark.version,
        "position": mark.position,
    }
