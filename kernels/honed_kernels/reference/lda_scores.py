"""The specification of `lda_scores` and of the analytic head, in plain PyTorch.

A Gaussian is given by its whitening R, lower triangular with R.T @ R = the inverse covariance: then
R (x - mean) is standard normal, and its squared length the squared Mahalanobis distance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from honed_kernels.status import NOT_FINITE


def discriminant(
    means: Tensor, whitening: Tensor, prior: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The linear head of classes with a mean each and one covariance, in their dtype.

        W = P (M - m),  b_c = -1/2 (M_c - m)^T P (M_c + m) + log prior_c,  P = R^T R

    The average m of the means is taken out, which changes all logits of a row alike, so that a
    float32 head keeps its digits.

    Args:
        means: floating (labels, hidden).
        whitening: floating (hidden, hidden).
        prior: floating (labels,), of any scale; None is uniform.

    Returns:
        weight (labels, hidden) and bias (labels,).
    """
    middle = means.mean(0)
    weight = (means - middle) @ whitening.T @ whitening
    bias = -0.5 * (weight * (means + middle)).sum(1)
    return weight, bias if prior is None else bias + prior.log()


def distances(x: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """Squared Mahalanobis distance of each row of `x` to each mean: (rows, means)."""
    return ((x[:, None] - means) @ whitening.T).square().sum(2)


def relative_distance(
    x: Tensor,
    means: Tensor,
    whitening: Tensor,
    background_mean: Tensor,
    background_whitening: Tensor,
) -> Tensor:
    """min_c d_c(x) - d_0(x) of each row (Ren et al. 2021, arXiv 2106.09022): what is specified."""
    near = distances(x, means, whitening).amin(1)
    return near - distances(x, background_mean[None], background_whitening)[:, 0]


def lda_scores(
    x: Tensor, centre: Tensor, matrix: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Score as `ops.lda_scores` says, arguments taken as valid: what runs on a CPU.

    Equal to `relative_distance` up to rounding, without a distance to each mean:
    d_c(x) = |R (x - m)|^2 - 2 (W_c (x - m) - 1/2 |R (M_c - m)|^2).
    """
    hidden = x.shape[1]
    if not len(x):
        return x.new_empty(0), x.new_empty(0), x.new_empty(0, dtype=torch.int32)
    # A product a row: a BLAS picks its order of summation, and with it the bits, by the shape.
    lines = torch.stack([matrix @ row for row in x - centre]) + offset
    shared, background, logits = lines.tensor_split((hidden, 2 * hidden), 1)
    # amax hands on a NaN; a label at -inf is switched off.
    best = logits.amax(1)
    distance = (shared.square().sum(1) - 2 * best).clamp_min(0)
    relative = distance - background.square().sum(1)
    broken = ~relative.isfinite()
    return (
        torch.where(broken, math.nan, relative),
        torch.where(broken, math.nan, distance),
        torch.where(broken, NOT_FINITE, 0).to(torch.int32),
    )
