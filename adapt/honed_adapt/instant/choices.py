"""Numbers that are chosen for a model by leaving rows out, in closed form.

It stands beside `recipe.py`: what is found here becomes part of the recipe, and is logged. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np

from honed_adapt.instant.calibration import (
    TemperaturePrior,
    fit_temperature,
    log_loss,
    sample_of,
)
from honed_adapt.instant.discriminant import Floats, Sums
from honed_adapt.instant.present import Row, arrays
from honed_adapt.instant.slices import invert
from honed_adapt.shares import parts

REGRESSION = TemperaturePrior(temperature=0.1, lowest=1e-4, highest=10.0)
"""What is believed of the temperature of a regression's scores."""

PENALTIES = (0.1, 1.0, 3.0)
CHOOSING_ROWS = 1_024
"""Rows that width and penalty are chosen on: those of the smallest text hashes."""

_WIDTH = 0.65  # of the kernel, in typical distances between two vectors
_FACTORS = (0.125, 0.25, 0.5, 2.0)  # of it that are tried; a wider kernel is almost linear
_FEW = 256  # labels below which nothing is chosen
_FIRST = 0.3
_CLOSE = 1.05  # losses that are as good as the lowest
_NATS = 0.01  # that another width saves too: of next to nothing a share means little


def width_for(sums: Sums) -> float:
    """The kernel's usual width at the scale of the rows in `sums`, three digits of it.

    The root mean square distance of two rows, taken from the sums; the median serves as the scale
    in other places (Gretton et al. 2012).
    """
    classes = sums.classes(sorted(sums.labels))
    centre = classes.weight @ classes.mean / sums.weight
    variance = float(np.trace(sums.scatter)) / sums.weight - float(centre @ centre)
    return float(f"{_WIDTH * (2 * max(variance, 0.0)) ** 0.5:.3g}") or 1.0


def scaled(width: float, usual: float) -> float:
    """A width that was chosen, halved or doubled until it is near the usual one of today.

    From there it can be chosen again to the last digit, though typical distances have moved since:
    the regression need not be built anew.
    """
    return width / 2.0 ** round(math.log2(width / usual))


def choose(
    rows: Sequence[Row], width: float, balance: float
) -> Generator[None, None, tuple[float, float]]:
    """Choose the kernel's width and the ridge penalty, in slices.

    It is the usual width unless rows are predicted by the others clearly better with another: with
    a loss that is lower by 5 %. Of the penalties it is the least that is about as good as the best:
    with more labels than are asked here less is wanted, and a larger one often costs right answers
    where it saves nats.

    Args:
        rows: a sample, `CHOOSING_ROWS` at most.
        width: the usual one.
        balance: see `Recipe`.
    """
    if len(rows) < _FEW:
        return width, _FIRST
    held_out = _LeaveOneOut(rows, balance)
    usual = yield from held_out.losses(width)
    chosen, losses = width, usual
    for factor in _FACTORS:
        other = yield from held_out.losses(width * factor)
        clearly = _CLOSE * other.min() + _NATS < usual.min()
        if clearly and other.min() < losses.min():
            chosen, losses = width * factor, other
    close = losses <= _CLOSE * losses.min()
    return chosen, PENALTIES[int(close.argmax())]


def balanced(weight: Floats, balance: float) -> Floats:
    """Factor of each label's scores, (labels,), by the weight of its rows; 0 for one without."""
    return np.where(weight > 0, np.maximum(weight, 1e-9) ** -balance, 0.0)


class _LeaveOneOut:
    """Rows, each to be predicted by the others.

    In the dual, with the kernel that the features estimate: with A = K + penalty / w on its
    diagonal and a = A^-1 y, a row left out scores y_i - a_i / (A^-1)_ii.
    """

    def __init__(self, rows: Sequence[Row], balance: float) -> None:
        vectors, self._weights = arrays(rows)
        x = vectors.astype(np.float64)
        squares = np.einsum("rh,rh->r", x, x)
        self._near = x @ x.T - (squares[:, None] + squares) / 2  # minus half the squared distance
        names = sorted(set(parts([row.said for row in rows])[0]))
        self._sample = sample_of(names, rows)
        targets, shares = self._sample.targets, self._sample.shares
        self._hot = np.eye(len(names))[targets] if shares is None else shares
        total = self._weights @ self._hot
        left = np.maximum(total[None, :] - self._hot * self._weights[:, None], 1e-9)
        self._kept = left[np.arange(len(rows)), targets] > 1e-9
        self._factors = left**-balance

    def losses(self, width: float) -> Generator[None, None, Floats]:
        """Mean nats that a row's label costs by penalty, with a kernel of this width."""
        losses = []
        kernel = np.exp(self._near / width**2)
        for penalty in PENALTIES:
            inverse = kernel + np.diag(penalty / self._weights)
            yield from invert(inverse)
            values = self._hot - (inverse @ self._hot) / np.diag(inverse)[:, None]
            scored = self._sample.held_out(self._kept, (values * self._factors)[self._kept])
            losses.append(log_loss(scored, fit_temperature(scored, REGRESSION)))
            yield
        return np.array(losses)
