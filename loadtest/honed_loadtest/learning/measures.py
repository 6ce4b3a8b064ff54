"""From what one contestant did on one stream to the numbers that are reported. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.insight.open_set import auroc
from honed_loadtest.learning.progressive import FIRST, Look, Trace
from honed_loadtest.learning.streams import Stream

REACHED = (0.80, 0.85, 0.90)
_CURVE = 40
_SETTLED = 0.1  # the lowest accuracy along the way is looked for after this share of the stream


def measures(stream: Stream, trace: Trace) -> dict[str, Any]:
    """All numbers of one run; None where the stream has nothing to say of one."""
    total = len(stream.said)
    found: dict[str, Any] = {
        "labels": total,
        "stream": _mean(trace.right),
        "stream_first": _mean(trace.right[:FIRST]) if total >= FIRST else None,
        "eras": _eras(stream, trace),
        "era_labels": dict(
            sorted(Counter(one.date[:4] for one in stream.said if one.date).items())
        ),
        "curve": _curve(trace),
        "final": None,
        "first": None,
        "reached": {},
        "lowest": None,
        "forgetting": forgetting(stream, trace.looks),
        "auroc": None,
        "learn_ms": 1e3 * trace.learn_s / max(total, 1),
        "answer_ms": 1e3 * trace.answer_s / max(total, 1),
    }
    if trace.looks:
        last = trace.looks[-1]
        found["final"] = _mean(last.right)
        found["first"] = next((_mean(x.right) for x in trace.looks if x.labels >= FIRST), None)
        found["reached"] = {
            str(share): next((x.labels for x in trace.looks if x.right.mean() >= share), None)
            for share in REACHED
        }
        settled = [x for x in trace.looks if x.labels >= _SETTLED * total and x.seen.any()]
        found["lowest"] = min((_mean(x.right[x.seen]) for x in settled), default=None)
    if trace.known is not None and trace.strange is not None:
        found["auroc"] = round(auroc(-trace.known, -trace.strange), 4)
    return found


def forgetting(stream: Stream, looks: Sequence[Look]) -> float | None:
    """Mean over all blocks but the last of the best test accuracy of a block less the final one.

    Chaudhry et al., "Riemannian walk for incremental learning" (2018), at every look.
    """
    if len(stream.blocks) < 2 or not looks:
        return None
    lost = []
    for block in stream.blocks[:-1]:
        rows = np.array([label in block for _, label in _asked(stream, looks)])
        if rows.any():
            scores = [float(look.right[rows].mean()) for look in looks]
            lost.append(max(scores) - scores[-1])
    return round(fmean(lost), 4) if lost else None


def spread(runs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float] | None:
    """Mean, standard deviation and range of one number over the seeds; None if none has it."""
    values = [run[name] for run in runs if run.get(name) is not None]
    if not values:
        return None
    return {
        "mean": round(fmean(values), 4),
        "sd": round(stdev(values), 4) if len(values) > 1 else 0.0,
        "low": min(values),
        "high": max(values),
        "seeds": len(values),
    }


def _asked(stream: Stream, looks: Sequence[Look]) -> Sequence[tuple[str, str]]:
    """The test rows that the looks are at: every so many-th of all."""
    step = -(-len(stream.test) // len(looks[0].right))
    return stream.test[::step]


def _eras(stream: Stream, trace: Trace) -> dict[str, float]:
    """Accuracy before learning by year, where the labels have dates."""
    years = np.array([one.date[:4] for one in stream.said])
    return {str(year): _mean(trace.right[years == year]) for year in np.unique(years) if year}


def _curve(trace: Trace) -> list[tuple[int, float]]:
    """Points to draw: test accuracy, or where there is no test that of the last twentieth."""
    if trace.looks:
        return [(look.labels, _mean(look.right)) for look in trace.looks]
    total = len(trace.right)
    window = max(1, total // 20)
    ends = sorted({max(window, round(total * (at + 1) / _CURVE)) for at in range(_CURVE)})
    return [(end, _mean(trace.right[end - window : end])) for end in ends]


def _mean(right: NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 4)
