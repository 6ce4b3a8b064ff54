"""Temperature of the instant head, so that a probability of 0.8 is right four times in five.

It stands after `instant.solve`: discriminant scores are over-confident, and the rows they were
solved from would flatter them, so each row is scored by the head that had not seen it. That needs
no refit: taking one row out is a rank-one change. Pure; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant import Floats, Shrinkage, Solution
from honed_adapt.present import Row, arrays

_ROUNDS = 60
_LOG_TOLERANCE = 1e-13


@dataclass(frozen=True, slots=True)
class TemperaturePrior:
    """What is believed of the temperature before any row was scored.

    A gamma belief on 1 / temperature: it keeps an almost empty model from certainty.

    Attributes:
        temperature: the most likely one.
        rows: how many scored rows the belief weighs.
        lowest: bound of the answer.
        highest: bound of the answer.
    """

    temperature: float = 20.0
    rows: float = 4.0
    lowest: float = 0.05
    highest: float = 1_000.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """Numbers of the instant lane's maths.

    Attributes:
        shrinkage: see `instant.Shrinkage`.
        temperature: see `TemperaturePrior`.
        sample_rows: rows that the temperature is found on: those of the smallest text hashes,
            a random sample that depends on nothing but the rows present.
    """

    shrinkage: Shrinkage = field(default_factory=Shrinkage)
    temperature: TemperaturePrior = field(default_factory=TemperaturePrior)
    sample_rows: int = 256


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows to score, all of them among the rows of the solution.

    Attributes:
        vectors: float32 (rows, hidden).
        targets: index of each row's label in the solution, int64 (rows,).
        weights: the weights that the rows were added with, float64 (rows,).
    """

    vectors: NDArray[np.float32]
    targets: NDArray[np.int64]
    weights: Floats


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Logits of rows under heads that had not seen them.

    Attributes:
        logits: float64 (rows, num_labels), each row up to a constant.
        targets: int64 (rows,).
        weights: float64 (rows,).
    """

    logits: Floats
    targets: NDArray[np.int64]
    weights: Floats


def calibrate(solution: Solution, rows: Sequence[Row], prior: TemperaturePrior) -> float:
    """Return the temperature of a solution, found on some of the rows that it was solved from."""
    index = {label: at for at, label in enumerate(solution.labels)}
    vectors, weights = arrays(rows)
    targets = np.array([index[row.label] for row in rows])
    return fit_temperature(leave_one_out(solution, Sample(vectors, targets, weights)), prior)


def leave_one_out(solution: Solution, sample: Sample) -> HeldOut:
    """Score every row by the head solved without it; the prior is held fixed.

    Taking out row x of class c with weight w is a rank-one change of the scatter A = B^-1. With
    u = x - m_c and a = w n_c / (n_c - w), by Sherman and Morrison

        (A - a u u^T)^-1 = B + a B u u^T B / (1 - a u^T B u)

    and the row's offset from its own shrunk mean grows by (n_c + k) / (n_c + k - w), where k is
    `mean_rows`. All squared distances follow from the products of x, m and M under B.

    Rows that are alone in their class are left out: without them their label would not exist.
    """
    kept = solution.classes.count[sample.targets] > 1
    x, c, w = sample.vectors[kept].astype(np.float64), sample.targets[kept], sample.weights[kept]
    mean, raw = solution.mean, solution.classes.mean
    n, k = solution.classes.weight[c], solution.prior.mean_rows
    stacked = np.concatenate([mean, raw, x])
    b_mean, b_raw, b_x = np.split(
        np.linalg.solve(solution.scatter, stacked.T).T, [len(mean), 2 * len(mean)]
    )
    u, b_u = x - raw[c], b_x - b_raw[c]

    distance = _dots(x, b_x)[:, None] - 2 * x @ b_mean.T + _dots(mean, b_mean)
    along = _dots(x, b_u)[:, None] - b_u @ mean.T
    pull = w * n / (n - w)
    distance += (pull / (1 - pull * _dots(u, b_u)))[:, None] * along**2
    distance[np.arange(len(x)), c] *= ((n + k) / (n + k - w)) ** 2
    return HeldOut(-0.5 * _freedom_without(solution, c, w)[:, None] * distance, c, w)


def fit_temperature(held_out: HeldOut, prior: TemperaturePrior) -> float:
    """Return the most likely temperature: the mode of likelihood times prior.

    With b = 1 / temperature the negative log of both is strictly convex, and its slope

        sum_i w_i (E[logit_i] - logit_i,target) + rows (temperature_0 - 1 / b)

    grows with b (E is over the softmax at b), so its one root is found by Newton's method on
    log b, halving the bracket where a step would leave it.
    """
    low, high = -math.log(prior.highest), -math.log(prior.lowest)
    at = -math.log(prior.temperature)
    for _ in range(_ROUNDS):
        b = math.exp(at)
        slope, curve = _slope(held_out, b)
        slope += prior.rows * (prior.temperature - 1 / b)
        curve += prior.rows / b**2
        low, high = (at, high) if slope < 0 else (low, at)
        step = at - slope / (curve * b)
        step = step if low < step < high else (low + high) / 2
        if abs(step - at) < _LOG_TOLERANCE:
            break
        at = step
    return math.exp(-at)


def _slope(held_out: HeldOut, b: float) -> tuple[float, float]:
    """First and second derivative by b of the weighted negative log-likelihood."""
    logits = held_out.logits - held_out.logits.max(axis=1, keepdims=True, initial=-np.inf)
    odds = np.exp(b * logits)
    odds /= odds.sum(axis=1, keepdims=True)
    expected = _dots(odds, logits)
    target = logits[np.arange(len(logits)), held_out.targets]
    variance = _dots(odds, logits**2) - expected**2
    return float(held_out.weights @ (expected - target)), float(held_out.weights @ variance)


def _freedom_without(solution: Solution, c: NDArray[np.int64], w: Floats) -> Floats:
    """Degrees of freedom of the scatter after one row of class c and weight w is gone."""
    n, squares = solution.classes.weight[c], solution.classes.squares[c]
    before = n - squares / n
    after = (n - w) - (squares - w**2) / (n - w)
    return solution.freedom - before + after


def _dots(left: Floats, right: Floats) -> Floats:
    """Row by row dot products of two (rows, hidden) arrays: (rows,)."""
    dots: Floats = np.einsum("rh,rh->r", left, right)
    return dots
