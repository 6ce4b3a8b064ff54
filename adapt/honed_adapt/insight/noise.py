"""Which labels the others do not bear out.

It stands behind the instant lane, whose closed form says of every row what a head would answer that
had not seen it; no cross-validation is needed. Pure; float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.discriminant import Floats


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that a head solved without it does not give.

    Attributes:
        position: its place in the log.
        probability: of the label, by that head.
        suggested: the best other label.
        suggested_probability: of that.
    """

    position: int
    probability: float
    suggested: str
    suggested_probability: float


def doubts(
    positions: Sequence[int],
    labels: Sequence[str],
    probabilities: Floats,
    targets: NDArray[np.int64],
    count: int,
) -> list[Doubt]:
    """The rows whose labels are least borne out, the worst first.

    By self-confidence, the probability of the own label (Northcutt et al. 2021). Their normalised
    margin, own less best other, found fewer of the wrong labels where it was tried
    (docs/decisions/0022-watching.md).

    Args:
        positions: of the rows in the log.
        labels: names of the columns; two at least.
        probabilities: float64 (rows, labels), of heads that had not seen the row.
        targets: index of each row's label, (rows,).
        count: how many at most.
    """
    rows = np.arange(len(targets))
    own = probabilities[rows, targets]
    others = probabilities.copy()
    others[rows, targets] = -1.0
    best = others.argmax(axis=1)
    order = np.argsort(own, kind="stable")[:count].tolist()
    return [
        Doubt(positions[at], float(own[at]), labels[int(best[at])], float(others[at, best[at]]))
        for at in order
    ]
