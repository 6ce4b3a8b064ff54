"""Who can be believed: how often the labels of others bear out what a submitter says. Pure.

It stands beside the lane: `loop.py` asks it from time to time, the server decides and marks labels.
The anchor guard sees only poison that costs anchor answers; this sees whoever contradicts all
others, anchors or not.

A submitter is judged by a discriminant head that was solved without any of their labels, so that no
amount of labels makes them agree with themselves; others' labels are judged by the same head, each
without itself. The belief in a share of agreement is a Beta posterior with a uniform prior.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.calibration import leave_one_out, sample_of
from honed_adapt.instant.discriminant import Shrinkage, Solution, Sums, data_prior, solve
from honed_adapt.instant.present import Row, arrays, labelled

Bools = NDArray[np.bool_]
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Rule:
    """When a submitter is suspicious. Chosen on folds of Banking77's train file.

    Attributes:
        least_labels: judged labels that a suspicion needs.
        margin: gap between their upper and the others' lower bound.
        most_share: a submitter with more of the weight is the measure, not the measured.
        heaviest: submitters that are judged, those with most weight first.
        busiest: of the others, how many are judged too, those with most labels first: the cap on
            influence leaves a flood many labels and little weight.
        sample_rows: labels of others, and of a submitter, that are looked at.
        choices: labels that were not drawn at random, such as corrections, are hard ones by
            selection; they are borne out by any of the best `1 + labels // choices`.
    """

    least_labels: int = 20
    margin: float = 0.25
    most_share: float = 0.5
    heaviest: int = 8
    busiest: int = 4
    sample_rows: int = 1000
    choices: int = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What the labels of others say of a submitter.

    Attributes:
        submitter: who; empty for those who gave no name, who are never suspicious.
        labels: labels in effect.
        weight_share: their part of all weight in effect, 0 to 1.
        judged: labels that could be judged: others use the same label.
        agreement: share of these that others bear out, 0 if none was judged.
        low, high: 95 % interval of the belief in that share.
        others_low: lower end of the same for all others, under the same head.
        suspicious: whether they agree less than the others do, beyond chance and `Rule.margin`.
    """

    submitter: str
    labels: int
    weight_share: float
    judged: int
    agreement: float
    low: float
    high: float
    others_low: float
    suspicious: bool


def standings(
    rows: Sequence[Row], trusted: Collection[str] = (), rule: Rule | None = None
) -> list[Standing]:
    """What can be said of each submitter, most weight first.

    Args:
        rows: labels in effect.
        trusted: submitters who are never suspicious, by decree.
        rule: when one is.
    """
    if not rows:
        return []
    rule = rule or Rule()
    by_submitter: dict[str, list[Row]] = {}
    for row in rows:
        by_submitter.setdefault(row.submitter, []).append(row)
    weights = {name: sum(r.weight for r in own) for name, own in by_submitter.items()}
    total = sum(weights.values())
    order = sorted(by_submitter, key=lambda name: (-weights[name], name))
    named = [name for name in order if name and len(by_submitter) > 1]
    lighter = sorted(named[rule.heaviest :], key=lambda name: -len(by_submitter[name]))
    judged = {*named[: rule.heaviest], *lighter[: rule.busiest]}
    sums = _summed(rows)
    found = []
    for name in order:
        own, others = by_submitter[name], [row for row in rows if row.submitter != name]
        head = _solved(_without(sums, own)) if name in judged else None
        share, spared = weights[name] / total, name in trusted or not name
        found.append(_standing(name, own, others, head, share, rule, spared=spared))
    return found


def believed(right: int, judged: int) -> tuple[float, float]:
    """95 % interval of the Beta(1 + right, 1 + wrong) belief, by Wilson's approximation of it."""
    a, b = right + 1.0, judged - right + 1.0
    n = a + b
    centre = (a + _Z**2 / 2) / (n + _Z**2)
    half = _Z / (n + _Z**2) * math.sqrt(a * b / n + _Z**2 / 4)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _standing(
    name: str,
    own: Sequence[Row],
    others: Sequence[Row],
    head: Solution | None,
    share: float,
    rule: Rule,
    *,
    spared: bool,
) -> Standing:
    """What a head of the others' labels says; without one nothing is known."""
    right = judged = others_right = others_judged = 0
    if head is not None:
        counts = _class_rows(head)
        known = [row for row in _some(own, rule) if row.label in counts]
        right, judged = _count(_scores(head, known), head, known, rule), len(known)
        kept = [row for row in _some(others, rule) if counts[row.label] > 1]
        others_right = _count(_without_itself(head, kept), head, kept, rule)
        others_judged = len(kept)
    low, high = believed(right, judged)
    others_low, _ = believed(others_right, others_judged)
    contradicts = judged >= rule.least_labels and high < others_low - rule.margin
    return Standing(
        submitter=name,
        labels=len(own),
        weight_share=share,
        judged=judged,
        agreement=right / judged if judged else 0.0,
        low=low,
        high=high,
        others_low=others_low,
        suspicious=contradicts and share < rule.most_share and not spared,
    )


def _summed(rows: Sequence[Row]) -> Sums:
    """The sums of some rows, at least one."""
    labels, vectors, weights = labelled(rows)
    sums = Sums(vectors.shape[1])
    sums.add(labels, vectors, weights)
    return sums


def _without(sums: Sums, rows: Sequence[Row]) -> Sums:
    rest = deepcopy(sums)
    rest.remove(*labelled(rows))
    return rest


def _solved(sums: Sums) -> Solution:
    """The discriminant head of the rows in the sums, at least one."""
    return solve(sums, sorted(sums.labels), data_prior(sums, Shrinkage()))


def _class_rows(head: Solution) -> Mapping[str, int]:
    return dict(zip(head.labels, head.classes.count.tolist(), strict=True))


def _some(rows: Sequence[Row], rule: Rule) -> Sequence[Row]:
    """Those with the smallest text hashes: a random sample that depends on no order."""
    if len(rows) <= rule.sample_rows:
        return rows
    return sorted(rows, key=lambda row: row.text_hash)[: rule.sample_rows]


def _scores(head: Solution, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Logits (rows, labels) of rows that the head has not seen."""
    if not rows:
        return np.zeros((0, len(head.labels)))
    scores: NDArray[np.float64] = arrays(rows)[0].astype(np.float64) @ head.weight.T + head.bias
    return scores


def _without_itself(head: Solution, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Logits (rows, labels) of rows that the head has seen, each by a head that has not."""
    if not rows:
        return np.zeros((0, len(head.labels)))
    return leave_one_out(head, sample_of(head.labels, rows)).logits


def _targets(head: Solution, rows: Sequence[Row]) -> NDArray[np.int64]:
    """Index of each row's label, -1 where the head does not know it."""
    index = {label: at for at, label in enumerate(head.labels)}
    return np.array([index.get(row.label, -1) for row in rows], np.int64)


def _count(scores: NDArray[np.float64], head: Solution, rows: Sequence[Row], rule: Rule) -> int:
    """How many rows are borne out."""
    several = 1 + len(head.labels) // rule.choices
    allowed = np.array([1 if row.votes else several for row in rows], np.int64)
    return int(_right(scores, _targets(head, rows), allowed).sum())


def _right(
    scores: NDArray[np.float64], targets: NDArray[np.int64], allowed: NDArray[np.int64]
) -> Bools:
    """Whether each row's label is among its best `allowed` ones."""
    own = scores[np.arange(len(scores)), targets]
    better: NDArray[np.int64] = (scores > own[:, None]).sum(axis=1)
    right: Bools = (targets >= 0) & (better < allowed)
    return right
