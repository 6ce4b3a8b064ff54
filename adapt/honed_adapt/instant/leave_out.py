"""What an answer would be without one of the labels, in closed form, for each of many labels.

It stands beside `calibration.leave_one_out`, which asks about the rows themselves; here another
text is asked about: the change is how much a label moved its answer. Pure; float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.calibration import Sample
from honed_adapt.instant.discriminant import Floats, Solution
from honed_adapt.instant.features import fourier
from honed_adapt.instant.ridge import Ridge

_LEAST = 1e-9  # weight below which a label is as good as none


def discriminant_moved(solution: Solution, sample: Sample, vector: NDArray[np.float32]) -> Floats:
    """How much each row moves a discriminant's logits of a text; the prior is held fixed.

    As in `leave_one_out`, a row x_i of class c is a rank-one change of the scatter and a step of
    its class mean. A row that is alone in its class leaves a label that leans on the prior alone.

    Args:
        solution: solved from the rows, among others.
        sample: the rows.
        vector: of the text, float32 (hidden,).

    Returns:
        float64 (rows, labels), each row up to a constant.
    """
    x, c, w = sample.vectors.astype(np.float64), sample.targets, sample.weights
    n, k = solution.classes.weight[c], solution.prior.mean_rows
    inverse = solution.inverse
    away = vector.astype(np.float64) - solution.mean  # of the text from the means, (labels, hidden)
    towards = away @ inverse
    distance = np.einsum("ch,ch->c", towards, away)
    u, e = x - solution.classes.mean[c], x - solution.mean[c]
    b_u, b_e = u @ inverse, e @ inverse
    left = n - w
    alone = left <= 0
    pull = np.where(alone, 0.0, w * n / np.where(alone, 1.0, left))
    gain = pull / (1 - pull * np.einsum("rh,rh->r", u, b_u))

    without = distance + gain[:, None] * (b_u @ away.T) ** 2
    own = np.arange(len(x)), c
    step = w / (n + k - w)  # the mean goes back by so much of the row's offset from it
    along = np.einsum("rh,rh->r", b_e, away[c])
    mine = distance[c] + 2 * step * along + step**2 * np.einsum("rh,rh->r", b_e, e)
    across = np.einsum("rh,rh->r", b_u, away[c]) + step * np.einsum("rh,rh->r", b_u, e)
    without[own] = mine + gain * across**2
    squares = solution.classes.squares[c]
    rest = np.where(alone, 0.0, left - (squares - w**2) / np.where(alone, 1.0, left))
    freedom = solution.freedom - (n - squares / n) + rest
    moved: Floats = -0.5 * solution.freedom * distance + 0.5 * freedom[:, None] * without
    return moved


def regression_moved(
    ridge: Ridge,
    labels: Sequence[str],
    weight: Floats,
    balance: float,
    sample: Sample,
    vector: NDArray[np.float32],
) -> Floats:
    """How much each row moves a regression's balanced scores of a text.

    By the matrix inversion lemma row i moves the score of label c by w l (y_c - z_ic) / (1 - w h),
    with l = phi^T P phi_i and h = phi_i^T P phi_i. It is also part of its own label's weight n,
    by which scores are balanced: they are multiplied by n^-balance.

    Args:
        ridge: has learned the rows, among others.
        labels: the columns.
        weight: n of each label, (labels,).
        balance: see above.
        sample: the rows.
        vector: of the text, float32 (hidden,).

    Returns:
        float64 (rows, labels).
    """
    targets, weights = sample.targets, sample.weights
    own = np.arange(len(targets)), targets
    scores, features = ridge.scores(sample.vectors, labels), ridge.spec.features
    text = ridge.scores(vector[None], labels).values[0, targets]
    phi, phis = fourier(vector[None], features), fourier(sample.vectors, features)
    missing = -scores.values
    missing[own] += 1
    cross = weights * ridge.leverage(phi, phis)[0] / (1 - weights * scores.leverage)
    moved: Floats = cross[:, None] * missing
    mine = power(weight[targets], balance) * text
    mine -= power(weight[targets] - weights, balance) * (text - moved[own])
    moved *= power(weight, balance)
    moved[own] = mine
    return moved


def power(weight: Floats, balance: float) -> Floats:
    """Factors of scores by the weight of their labels; 0 for labels without rows."""
    return np.where(weight > _LEAST, np.maximum(weight, _LEAST) ** -balance, 0.0)
