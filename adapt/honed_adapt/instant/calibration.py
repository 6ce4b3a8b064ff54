"""Temperature of the instant head, so that a probability of 0.8 is right four times in five.

It stands after `instant.solve`: discriminant scores are over-confident, and the rows they were
solved from would flatter them, so each row is scored by the head that had not seen it. That needs
no refit: taking one row out is a rank-one change. Pure; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.discriminant import Floats, Shrinkage, Solution
from honed_adapt.instant.present import Row, arrays
from honed_adapt.shares import parts

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
        shares: what each row is of each label of the solution, float64 (rows, num_labels); None
            where no row has more than one label.
    """

    vectors: NDArray[np.float32]
    targets: NDArray[np.int64]
    weights: Floats
    shares: Floats | None = None

    def held_out(self, kept: NDArray[np.bool_], logits: Floats) -> HeldOut:
        """Some of the rows with their logits."""
        shares = None if self.shares is None else self.shares[kept]
        return HeldOut(logits, self.targets[kept], self.weights[kept], shares)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Logits of rows under heads that had not seen them.

    Attributes:
        logits: float64 (rows, num_labels).
        targets: int64 (rows,).
        weights: float64 (rows,).
        shares: as in `Sample`.
        apart: from the index of a label for each row to how far the rows lie from these, as
            `apart.py` has it but for the energy, float64 (rows,); None where that is not known.
    """

    logits: Floats
    targets: NDArray[np.int64]
    weights: Floats
    shares: Floats | None = None
    apart: Callable[[NDArray[np.int64]], Floats] | None = None

    @property
    def wanted(self) -> Floats:
        """The logit of each row's label, of a soft one the mean over its shares: (rows,)."""
        if self.shares is None:
            own: Floats = self.logits[np.arange(len(self.targets)), self.targets]
            return own
        return _dots(self.shares, self.logits)

    def served(self, temperature: float, prior: Floats) -> HeldOut:
        """The same rows with logits over the temperature, and the labels' log odds added."""
        return replace(self, logits=self.logits / temperature + prior)

    def below_best(self) -> HeldOut:
        """The same rows with the best logit of each at 0."""
        best = self.logits.max(axis=1, keepdims=True, initial=-np.inf)
        return replace(self, logits=self.logits - best)


def sample_of(labels: Sequence[str], rows: Sequence[Row]) -> Sample:
    """Bundle rows with the places of their labels among those of a solution."""
    index = {label: at for at, label in enumerate(labels)}
    vectors, weights = arrays(rows)
    shares = None
    if any(row.shares for row in rows):
        names, at, share = parts([row.said for row in rows])
        shares = np.zeros((len(rows), len(labels)))
        shares[at, [index[name] for name in names]] = share
    return Sample(vectors, np.array([index[row.label] for row in rows]), weights, shares)


def calibrate(solution: Solution, rows: Sequence[Row], prior: TemperaturePrior) -> float:
    """Return the temperature of a solution, found on some of the rows that it was solved from."""
    held_out = leave_one_out(solution, sample_of(solution.labels, rows))
    return fit_temperature(held_out, prior)


def leave_one_out(solution: Solution, sample: Sample) -> HeldOut:
    """Score every row by the head solved without it; the prior is held fixed.

    Taking out row x of class c with weight w is a rank-one change of the scatter A = B^-1. With
    u = x - m_c and a = w n_c / (n_c - w), by Sherman and Morrison

        (A - a u u^T)^-1 = B + a B u u^T B / (1 - a u^T B u)

    and the row's offset from its own shrunk mean grows by (n_c + k) / (n_c + k - w), where k is
    `mean_rows`. All squared distances follow from the products of x, m and M under B. That from the
    mean of the class means is taken out, as in a head's logits, whose scale they have so.

    Rows that are alone in their class are left out: without them their label would not exist. Soft
    labels are left out of all their classes, see `_without_shares`.
    """
    kept = solution.classes.count[sample.targets] > 1
    x, c = sample.vectors[kept].astype(np.float64), sample.targets[kept]
    found = sample.held_out(kept, np.zeros((len(c), len(solution.labels))))
    w = found.weights
    if found.shares is not None:
        w = w * found.shares[np.arange(len(c)), c]
    mean, b_mean = (
        np.concatenate([of, of.mean(axis=0, keepdims=True)])
        for of in (solution.mean, solution.towards)
    )
    n, k = solution.classes.weight[c], solution.prior.mean_rows
    b_x = x @ solution.inverse
    u = x - solution.classes.mean[c]
    lean = (k / n)[:, None]  # m_c is (1 + k / n) M_c less k / n times the prior's centre
    b_u = b_x - (1 + lean) * b_mean[c] + lean * (solution.prior.centre @ solution.inverse)

    distance = _dots(x, b_x)[:, None] - 2 * x @ b_mean.T + _dots(mean, b_mean)
    along = _dots(x, b_u)[:, None] - b_u @ mean.T
    pull = w * n / _others(n, w)
    plain = None if found.shares is None else distance.copy()
    distance += (pull / (1 - pull * _dots(u, b_u)))[:, None] * along**2
    distance[np.arange(len(x)), c] *= ((n + k) / (n + k - w)) ** 2
    freedom = _freedom_without(solution, c, w)
    if found.shares is not None and plain is not None:
        for at in np.flatnonzero(found.shares.max(axis=1) < 1).tolist():
            parted = found.weights[at] * found.shares[at]
            freedom[at] = _without_shares(solution, x[at], parted, mean, plain[at])
            distance[at] = plain[at]
    distance = distance[:, :-1] - distance[:, -1:]
    return replace(found, logits=-0.5 * freedom[:, None] * distance)


def _without_shares(
    solution: Solution, x: Floats, parted: Floats, mean: Floats, distance: Floats
) -> float:
    """Take a row out of several classes at once: as in `leave_one_out`, but of a higher rank.

    Args:
        solution: has learned the row.
        x: the row, (hidden,).
        parted: its weight in each class, (num_labels,).
        mean: shrunk means (means, hidden), those of the classes first.
        distance: of the row from each, (means,); brought up to date.

    Returns:
        Degrees of freedom of the scatter that is left.
    """
    classes, own = solution.classes, np.flatnonzero(parted)
    n, w, k = classes.weight[own], parted[own], solution.prior.mean_rows
    others = (classes.count[own] > 1) & (n > w)  # a row alone in its class is no scatter there
    u = (x - classes.mean[own])[others]
    b_u = u @ solution.inverse
    along = b_u @ (x - mean).T
    core = np.diag(((n - w) / (w * n))[others]) - u @ b_u.T
    distance += np.einsum("pm,pm->m", along, np.linalg.solve(core, along))
    distance[own] *= ((n + k) / (n + k - w)) ** 2
    left, squares = (n - w)[others], classes.squares[own]
    after = left - (squares - w**2)[others] / left
    return solution.freedom - float((n - squares / n).sum()) + float(after.sum())


def fit_temperature(held_out: HeldOut, prior: TemperaturePrior) -> float:
    """Return the most likely temperature: the mode of likelihood times prior.

    With b = 1 / temperature the negative log of both is strictly convex, and its slope

        sum_i w_i (E[logit_i] - logit_i,target) + rows (temperature_0 - 1 / b)

    grows with b (E is over the softmax at b), so its one root is found by Newton's method on
    log b, halving the bracket where a step would leave it.
    """
    held_out = held_out.below_best()
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


def log_loss(held_out: HeldOut, temperature: float) -> float:
    """Mean nats that the rows' labels cost at a temperature, weighted; 0 without rows."""
    logits = held_out.below_best().logits / temperature
    costs = np.log(np.exp(logits).sum(axis=1)) - replace(held_out, logits=logits).wanted
    return float(held_out.weights @ costs / max(float(held_out.weights.sum()), 1e-9))


def _slope(held_out: HeldOut, b: float) -> tuple[float, float]:
    """First and second derivative by b of the weighted negative log-likelihood.

    The best logit of each row is 0.
    """
    logits = held_out.logits
    odds = np.exp(b * logits)
    total = odds.sum(axis=1)
    odds *= logits
    expected = odds.sum(axis=1) / total
    variance = _dots(odds, logits) / total - expected**2
    slope = held_out.weights @ (expected - held_out.wanted)
    return float(slope), float(held_out.weights @ variance)


def _freedom_without(solution: Solution, c: NDArray[np.int64], w: Floats) -> Floats:
    """Degrees of freedom of the scatter after one row of class c and weight w is gone."""
    n, squares = solution.classes.weight[c], solution.classes.squares[c]
    before = n - squares / n
    after = (n - w) - (squares - w**2) / _others(n, w)
    return solution.freedom - before + after


def _others(n: Floats, w: Floats) -> Floats:
    """What other rows of a class weigh; infinite where that was lost beside w: no scatter."""
    return np.where(n > w, n - w, np.inf)


def _dots(left: Floats, right: Floats) -> Floats:
    """Row by row dot products of two (rows, hidden) arrays: (rows,)."""
    dots: Floats = np.einsum("rh,rh->r", left, right)
    return dots
