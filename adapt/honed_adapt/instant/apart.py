"""How far a text lies from the label that it is answered with: what the out-of-scope score is of.

It stands beside `mix.py`, whose answers it judges. A text is as strange as

    0.03 E / T  +  |x - m_c|^2 / s^2  -  r_c

with free energy E and temperature T of the head, x its vector, c its best label, m_c the mean of
that label's rows, s^2 the mean squared length of all rows, and r_c what the regression says of c:
about 1 where its rows explain the text, 0 far from them; 0 while there is no regression.

The distance is Mahalanobis's (Lee et al. 2018) under a covariance that is a sphere: with the rows'
own covariance it does worse the less that is shrunk. r_c is the mean of a Gaussian process for one
class (Kemmler et al. 2013); it is what is left of the label's logit without the discriminant's
part, so nothing is computed twice. Each term alone is the best on some data and poor on other
(docs/measurements.md). All is made of sums over rows in effect, so forgetting stays exact. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import OpenSet
from honed_adapt.instant.discriminant import Classes, Floats, Sums
from honed_adapt.instant.evidence import Logits

ENERGY = 0.03
"""What a nat of free energy counts: the other terms are about 1 between known and strange."""


@dataclass(frozen=True, slots=True, eq=False)
class Regressed:
    """How the regression's scores r are found in logits: logit_c = rest_c(x) + gain_c r_c.

    Attributes:
        rest: what else is in the logits.
        gain: 0 or more, (labels,); 0 for a label that the regression says nothing of.
    """

    rest: Logits
    gain: Floats


def open_set(
    sums: Sums, classes: Classes, regressed: Regressed | None, temperature: float
) -> OpenSet:
    """Return what makes the score of texts.

    Args:
        sums: of the rows.
        classes: those of the head, in its order.
        regressed: None where there is no regression in the logits.
        temperature: of the head.
    """
    scale = mean_square(sums)
    slope = -2 / scale * classes.mean
    offset = np.einsum("ch,ch->c", classes.mean, classes.mean) / scale
    gain: Floats = np.zeros(len(offset))
    if regressed is not None:
        found = regressed.gain > 0
        whole, rest = regressed.gain[found], regressed.rest
        slope[found] += rest.weight[found] / whole[:, None]
        offset[found] += rest.bias[found] / whole
        gain[found] = temperature / whole
    arrays = (of.astype(np.float32) for of in (slope, offset, gain))
    return OpenSet(ENERGY, 1 / scale, *arrays)


def distance_without(
    scale: float, classes: Classes, vectors: Floats, parted: Floats, labels: NDArray[np.int64]
) -> Floats:
    """Squared distance over s^2 of each row from the mean of a label that was without it: (rows,).

    A class mean without row x is further from it by n / (n - w); s^2 is held fixed. A class that
    is left without rows has the mean 0, as in `Sums.classes`.

    Args:
        scale: s^2.
        classes: the labels.
        vectors: of the rows, float64 (rows, hidden).
        parted: the weight of each row in its class, (rows,).
        labels: index of each row's, (rows,).
    """
    whole, count = classes.weight[labels], classes.count[labels]
    among, alone = (parted > 0) & (count > 1), (parted > 0) & (count == 1)
    farther = np.divide(whole, whole - parted, out=np.ones(len(whole)), where=among)
    offset = (vectors - classes.mean[labels] * ~alone[:, None]) * farther[:, None]
    found: Floats = np.einsum("rh,rh->r", offset, offset) / scale
    return found


def mean_square(sums: Sums) -> float:
    """Mean squared length of the rows; 1 where all are 0."""
    return float(np.trace(sums.scatter)) / sums.weight or 1.0
