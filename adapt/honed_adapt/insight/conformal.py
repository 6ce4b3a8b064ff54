"""Prediction sets that hold the right label as often as promised.

It stands behind calibration. Split conformal prediction (Vovk et al. 2005; the score is one minus
the label's probability, Sadinle et al. 2019) on held-out rows gives the least probability that a
label of a set must have. Held-out rows are not traffic, so the level follows audits: adaptive
conformal inference (Gibbs and Candes 2021) moves it by

    level += step (miss_wanted - miss)

after each audited answer, whether its set missed the label. That is a sum over the audits present:
it does not depend on their order, and a deleted audit takes its vote away. Pure; float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import numpy as np

from honed_adapt.instant.discriminant import Floats

COVERAGE = 0.9
"""Share of sets that shall hold the right label, where no policy says so."""

STEP = 0.01
"""How far one audit moves the level. Gibbs and Candes use 0.005; with few audits more is due."""

_LEAST_MISSES = 2.0  # held-out rows that must lie outside at the wanted coverage


def level(coverage: float, misses: Iterable[bool]) -> float:
    """Return the share of held-out rows that sets may miss, so that audits are covered.

    Args:
        coverage: wanted, in (0, 1).
        misses: of each audit, whether the set served at that time lacked its label.
    """
    wanted = 1 - coverage
    return wanted + STEP * sum(wanted - miss for miss in misses)


def least_probability(own: Floats, missed: float, coverage: float = COVERAGE) -> float | None:
    """Return the probability that a label must have to be in a set; None with too few rows.

    Args:
        own: probability of each held-out row's own label, (rows,).
        missed: share of rows that may be missed, see `level`; 0 or less means sets of all labels.
        coverage: wanted in the long run; it decides how many rows are needed.
    """
    rows = len(own)
    if rows * (1 - coverage) < _LEAST_MISSES:
        return None
    kept = ceil((rows + 1) * (1 - missed))  # scores that the quantile must reach
    if kept > rows:
        return 0.0
    if kept < 1:
        return 1.0
    return float(np.sort(own)[rows - kept])
