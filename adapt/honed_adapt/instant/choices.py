"""Numbers that are chosen for a model by leaving rows out, in closed form.

It stands beside `recipe.py`: what is found here becomes part of the recipe, and is logged. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from honed_adapt.instant.calibration import (
    TemperaturePrior,
    fit_temperature,
    log_loss,
    sample_of,
)
from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.present import Row, arrays
from honed_adapt.shares import parts

REGRESSION = TemperaturePrior(temperature=0.1, lowest=1e-4, highest=10.0)
"""What is believed of the temperature of a regression's scores."""

PENALTIES = (0.1, 1.0, 3.0)
CHOOSING_ROWS = 1_024
"""Rows that a penalty is chosen on: those of the smallest text hashes."""

_FEW = 256  # labels below which nothing is chosen
_FIRST = 0.3
_CLOSE = 1.05  # losses that are as good as the lowest


def penalty_for(rows: Sequence[Row], width: float, balance: float) -> float:
    """The least ridge penalty under which rows are predicted by the others about as well as ever.

    The least, since with more labels than are asked here less is wanted; and a larger one often
    costs right answers where it saves nats.

    In the dual, with the kernel that the features estimate: with A = K + penalty / w on its
    diagonal and a = A^-1 y, a row left out scores y_i - a_i / (A^-1)_ii.

    Args:
        rows: a sample, `CHOOSING_ROWS` at most.
        width: of the kernel.
        balance: see `Recipe`.
    """
    if len(rows) < _FEW:
        return _FIRST
    vectors, weights = arrays(rows)
    x = vectors.astype(np.float64)
    squares = np.einsum("rh,rh->r", x, x)
    kernel = np.exp((x @ x.T - (squares[:, None] + squares) / 2) / width**2)
    names = sorted(set(parts([row.said for row in rows])[0]))
    sample = sample_of(names, rows)
    targets = sample.targets
    hot = np.eye(len(names))[targets] if sample.shares is None else sample.shares
    left = np.maximum((weights @ hot)[None, :] - hot * weights[:, None], 1e-9)
    kept = left[np.arange(len(rows)), targets] > 1e-9
    losses = []
    for penalty in PENALTIES:
        inverse = np.linalg.inv(kernel + np.diag(penalty / weights))
        values = hot - (inverse @ hot) / np.diag(inverse)[:, None]
        scored = sample.held_out(kept, (values * left**-balance)[kept])
        losses.append(log_loss(scored, fit_temperature(scored, REGRESSION)))
    close = np.array(losses) <= _CLOSE * min(losses)
    return PENALTIES[int(close.argmax())]


def balanced(weight: Floats, balance: float) -> Floats:
    """Factor of each label's scores, (labels,), by the weight of its rows; 0 for one without."""
    return np.where(weight > 0, np.maximum(weight, 1e-9) ** -balance, 0.0)
