"""Answers what the server asks about a model's labels, from its lane.

It stands beside `loop.py`, which hands it the lane. Both answers are in closed form: nothing is
learned anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from honed_adapt.insight.explain import Reason, similarity
from honed_adapt.insight.noise import Doubt, doubts
from honed_adapt.insight.scores import softmax
from honed_adapt.instant.calibration import (
    TemperaturePrior,
    fit_temperature,
    leave_one_out,
    sample_of,
)
from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import arrays
from honed_adapt.process.questions import Explain, Explained, Question, Reply, Suspected
from honed_adapt.trust.standing import standings

_LOOKED_AT = 256  # labels that are looked at closely: the nearest, or the most doubtful ones
_EACH = 2  # of the latter, for each that is wanted


def answer(question: Question, lane: Lane | None, trusted: Collection[str] = ()) -> Reply:
    """Answer a question.

    Args:
        question: what is asked.
        lane: the model's; None while it is not built.
        trusted: submitters who are never suspicious, by decree.
    """
    if isinstance(question, Explain):
        if lane is None:
            return Explained(question.number, _not_built(question))
        return _explained(question, lane)
    if lane is None:
        return Suspected(question.number, _not_built(question))
    found = standings(lane.in_effect, trusted) if lane.effective else []
    return Suspected(question.number, "", tuple(_doubts(lane, question.count)), tuple(found))


def _not_built(question: Question) -> str:
    return f"what model {question.model!r} has learned is being built up; try again"


def _explained(question: Explain, lane: Lane) -> Explained:
    rows = lane.in_effect
    if not rows:
        return Explained(question.number)
    similar = similarity(arrays(rows)[0], question.vector)
    nearest = np.argsort(-similar, kind="stable")[:_LOOKED_AT].tolist()
    near = [rows[at] for at in nearest]
    influence = lane.influence(near, question.vector, question.label)
    found = [
        Reason(row.position, float(similar[at]), float(moved))
        for row, at, moved in zip(near, nearest, influence, strict=True)
    ]
    moving = sorted(found, key=lambda reason: -abs(reason.influence))
    count = question.count
    return Explained(question.number, "", tuple(moving[:count]), tuple(found[:count]))


def _doubts(lane: Lane, count: int) -> list[Doubt]:
    """The labels that are least borne out; one that is alone in its class cannot be judged.

    All are looked at by the discriminant alone, which costs next to nothing, and those that it
    doubts most by what serves.
    """
    rows, solution = lane.in_effect, lane.solution
    if solution is None or len(solution.labels) < 2:
        return []
    of_class = Counter(row.label for row in rows)
    rows = [row for row in rows if of_class[row.label] > 1]
    if not rows:
        return []
    first = leave_one_out(solution, sample_of(solution.labels, rows))
    odds = softmax(first.logits, fit_temperature(first, TemperaturePrior()))
    own = odds[np.arange(len(rows)), first.targets]
    pool = np.argsort(own, kind="stable")[: max(_LOOKED_AT, _EACH * count)]
    doubtful = [rows[at] for at in pool.tolist()]
    found = lane.held_out(doubtful)
    positions = [row.position for row in doubtful]
    return doubts(positions, lane.labels, softmax(found.logits), found.targets, count)
