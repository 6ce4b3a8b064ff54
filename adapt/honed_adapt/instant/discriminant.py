"""The instant lane's maths: additive sums of labelled vectors, and the linear head they determine.

It stands between a label and its revision: `lane.py` keeps the sums, `solve` turns them into a
linear discriminant head, `calibration.py` finds its temperature. Pure; float64 throughout.

The sums are raw (no running means, no decay), so adding and removing rows in any order gives the
sums of the rows that are left: learning is order-free and forgetting is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head

Floats = NDArray[np.float64]

_SMALL = 64  # rows of a matrix that are inverted by elimination


@dataclass(slots=True)
class _ClassSums:
    vectors: Floats
    weight: float = 0.0
    squares: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What the sums say of each class, C classes in a given order.

    Attributes:
        count: rows, int64 (C,).
        weight: summed row weights n_c, float64 (C,).
        squares: summed squares of row weights, float64 (C,).
        mean: weighted means, float64 (C, hidden).
    """

    count: NDArray[np.int64]
    weight: Floats
    squares: Floats
    mean: Floats


class Sums:
    """Weighted additive sums of labelled vectors: n_c and s_c per class, one Q = sum of w x x^T."""

    def __init__(self, hidden: int) -> None:
        self.hidden = hidden
        self.scatter: Floats = np.zeros((hidden, hidden))
        self._classes: dict[str, _ClassSums] = {}

    @property
    def labels(self) -> frozenset[str]:
        """Labels that have at least one row."""
        return frozenset(self._classes)

    @property
    def weight(self) -> float:
        """Summed weight of all rows."""
        return sum(sums.weight for sums in self._classes.values())

    def add(self, labels: Sequence[str], vectors: NDArray[np.float32], weights: Floats) -> None:
        """Add rows: `vectors` is (rows, hidden), `weights` is (rows,) and positive."""
        assert (weights > 0).all(), "a row without weight would be a label without evidence"
        self._move(labels, vectors.astype(np.float64), weights, 1)

    def remove(self, labels: Sequence[str], vectors: NDArray[np.float32], weights: Floats) -> None:
        """Take out rows that were added before, with the same vectors and weights."""
        self._move(labels, vectors.astype(np.float64), weights, -1)
        for label in set(labels):
            assert self._classes[label].count >= 0, "a row was removed that was never added"
            if self._classes[label].count == 0:
                del self._classes[label]
        if not self._classes:
            self.scatter[:] = 0.0  # an empty model keeps no rounding residue of what it forgot

    def classes(self, labels: Iterable[str]) -> Classes:
        """Return count, weights and means of `labels`, in that order; without rows all are 0."""
        nothing = _ClassSums(np.zeros(self.hidden))
        sums = [self._classes.get(label, nothing) for label in labels]
        weight = np.array([one.weight for one in sums])
        total = np.array([one.vectors for one in sums]).reshape(len(sums), self.hidden)
        return Classes(
            count=np.array([one.count for one in sums], np.int64),
            weight=weight,
            squares=np.array([one.squares for one in sums]),
            mean=total / np.where(weight > 0, weight, 1.0)[:, None],
        )

    def _move(self, labels: Sequence[str], vectors: Floats, weights: Floats, sign: int) -> None:
        weighted = vectors * (sign * weights)[:, None]
        self.scatter += weighted.T @ vectors
        for label, row, weight in zip(labels, weighted, weights.tolist(), strict=True):
            one = self._classes.get(label)
            if one is None:
                one = self._classes[label] = _ClassSums(np.zeros(self.hidden))
            one.vectors += row
            one.weight += sign * weight
            one.squares += sign * weight * weight
            one.count += sign


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How strongly few rows lean on what is expected of any class.

    Chosen on Banking77 train folds and the CLINC150 validation file (docs/measurements.md).

    Attributes:
        mean_rows: a class mean leans on the mean of all rows as if by that many rows.
        scatter_rows: the scatter leans on a sphere as if by that many rows.
        within: variance expected within a class, as a share of the mean squared vector length.
    """

    mean_rows: float = 1.0
    scatter_rows: float = 200.0
    within: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What is expected before any row of a class is seen: `Shrinkage` at the scale of the data.

    Attributes:
        centre: mean of all rows, float64 (hidden,).
        variance: expected within-class variance of one feature.
        mean_rows: weight of `centre` in a class mean, in rows.
        scatter_rows: weight of the sphere in the scatter, in rows.
    """

    centre: Floats
    variance: float
    mean_rows: float
    scatter_rows: float


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A solved discriminant in float64, with all that leaving one row out needs.

    Attributes:
        labels: names, C of them.
        classes: what the sums say of them, in the same order.
        mean: class means after shrinkage, float64 (C, hidden).
        scatter: within-class scatter plus prior, float64 (hidden, hidden), positive definite.
        inverse: of the scatter.
        towards: the means times the inverse, float64 (C, hidden).
        freedom: its degrees of freedom; covariance = scatter / freedom.
        weight: float64 (C, hidden); logits = x @ weight.T + bias.
        bias: float64 (C,).
        prior: the prior that it leans on.
    """

    labels: tuple[str, ...]
    classes: Classes
    mean: Floats
    scatter: Floats = field(repr=False)
    inverse: Floats = field(repr=False)
    towards: Floats = field(repr=False)
    freedom: float
    weight: Floats
    bias: Floats
    prior: Prior

    def head(self, temperature: float) -> Head:
        """Return the float32 head that serves."""
        weight, bias = self.weight.astype(np.float32), self.bias.astype(np.float32)
        return Head(self.labels, weight, bias, temperature)


def data_prior(sums: Sums, shrinkage: Shrinkage) -> Prior:
    """Return the prior at the scale of the rows in `sums`, which must not be empty."""
    classes = sums.classes(sorted(sums.labels))
    total = sums.weight
    mean_square = float(np.trace(sums.scatter)) / (total * sums.hidden)
    return Prior(
        centre=classes.weight @ classes.mean / total,
        variance=shrinkage.within * mean_square,
        mean_rows=shrinkage.mean_rows,
        scatter_rows=shrinkage.scatter_rows,
    )


def solve(sums: Sums, labels: Sequence[str], prior: Prior) -> Solution:
    """Linear discriminant analysis with shrinkage and uniform class priors.

    With few rows the scatter is nearly a sphere, and this is the nearest class mean; with many it
    is Fisher's discriminant. Uniform priors, because corrections over-represent mistakes. The logit
    of class c is log p(x | c) up to a term common to all classes:

        S = (Q - sum n_c m_c m_c^T + nu s^2 I) / (freedom + nu)
        W = S^-1 (M - m),  b_c = -1/2 (M_c - m)^T S^-1 (M_c + m)

    with raw means m_c, shrunk means M and their average m, which is taken out so that the float32
    head keeps its digits. Freedom is sum n_c - sum w^2 / n_c (unbiased for reliability weights);
    it is n - C when all weights are 1.

    Args:
        sums: at least one row.
        labels: all labels in `sums`, in the order that the head shall have, and perhaps some that
            have no row yet: their mean is the prior's, so they are what no other class explains.
        prior: see `data_prior`.
    """
    assert set(labels) >= sums.labels, "the caller's label order must name the labels in the sums"
    classes = sums.classes(labels)
    leaning = (classes.weight + prior.mean_rows)[:, None]
    mean = (classes.weight[:, None] * classes.mean + prior.mean_rows * prior.centre) / leaning
    scatter = sums.scatter - (classes.mean * classes.weight[:, None]).T @ classes.mean
    scatter.flat[:: sums.hidden + 1] += prior.scatter_rows * prior.variance
    seen = classes.weight > 0
    lost = classes.squares[seen] / classes.weight[seen]
    freedom = float((classes.weight[seen] - lost).sum()) + prior.scatter_rows
    middle = mean.mean(axis=0)
    inverse = inverted(scatter)
    towards = mean @ inverse
    weight = freedom * (towards - towards.mean(axis=0))
    bias = -0.5 * np.einsum("ch,ch->c", weight, mean + middle)
    return Solution(
        tuple(labels), classes, mean, scatter, inverse, towards, freedom, weight, bias, prior
    )


def inverted(matrix: Floats) -> Floats:
    """Invert a symmetric positive definite matrix by halves, with Schur complements.

    A few products in place of the elimination of `numpy.linalg.inv`: a third of its time at 384.
    """
    size = len(matrix)
    if size <= _SMALL:
        small = np.linalg.inv(matrix)
        return (small + small.T) / 2
    first, last = slice(size // 2), slice(size // 2, size)
    known = inverted(matrix[first, first])
    towards = known @ matrix[first, last]
    corner = inverted(matrix[last, last] - matrix[last, first] @ towards)
    outer = towards @ corner
    inverse = np.empty_like(matrix)
    inverse[first, first] = known + outer @ towards.T
    inverse[first, last], inverse[last, first] = -outer, -outer.T
    inverse[last, last] = corner
    return inverse
