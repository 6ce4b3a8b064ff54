"""The analytic head (linear discriminant analysis), and how far a row lies from all its classes.

From the sums of `rank_update`: `moments` gives means and covariances, `whiten` turns a covariance
into what the rest needs, `lda_head` is the head for `grouped_head`, and `gaussians` is what
`lda_scores` needs to say that a row belongs to none of the classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.head import HeadWeights
from honed_kernels.reference import lda_scores as reference


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What sums of labelled rows say of them, in float64.

    Attributes:
        means: (labels, hidden); of a label without rows that of all rows.
        covariance: (hidden, hidden), within the classes, one for all.
        background_mean: (hidden,), of all rows.
        background_covariance: (hidden, hidden), of all rows round their mean.
    """

    means: Tensor
    covariance: Tensor
    background_mean: Tensor
    background_covariance: Tensor


def moments(gram: Tensor, cross: Tensor, counts: Tensor) -> Moments:
    """Means and covariances from the sums of `rank_update`, in which each row has one label.

    The covariances are unbiased for reliability weights: divided by sum w - sum w^2 / sum w, for
    the one within classes by the sum of that over the classes. With fewer rows than that needs
    they are not finite.

    Args:
        gram: float64 (hidden, hidden).
        cross: float64 (hidden, labels).
        counts: float64 (3, labels).
    """
    number, weight, squares = counts
    seen = number > 0
    total = weight.sum()
    centre = cross.sum(1) / total
    means = torch.where(seen[:, None], cross.T / weight.where(seen, 1)[:, None], centre)
    lost = torch.where(seen, squares / weight.where(seen, 1), 0).sum()
    within = gram - (means * torch.where(seen, weight, 0)[:, None]).T @ means
    around = gram - total * torch.outer(centre, centre)
    free = total - squares.sum() / total
    return Moments(means, within / (total - lost), centre, around / free)


def whiten(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """R, lower triangular, with R.T @ R = (covariance + ridge * I)^-1. Waits for the device.

    Args:
        covariance: floating (hidden, hidden), symmetric.
        ridge: the variance to add to each feature, not negative.

    Raises:
        ValueError: if the sum is not positive definite: take a larger ridge.
    """
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    factor = _cholesky(covariance + ridge * identity, "the covariance with its ridge")
    whitening: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return whitening


def whiten_precision(precision: Tensor) -> Tensor:
    """R, lower triangular, with R.T @ R = precision, an inverse covariance. Waits for the device.

    Raises:
        ValueError: if `precision` is not positive definite.
    """
    # Cholesky's factor is the other way round (L @ L.T), and so are rows and columns meanwhile.
    return _cholesky(precision.flip(0, 1), "the precision").flip(0, 1).T.contiguous()


def _cholesky(matrix: Tensor, name: str) -> Tensor:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed or not factor.isfinite().all():
        raise ValueError(f"{name} is not positive definite; a larger ridge makes it so")
    return factor


def lda_head(
    means: Tensor, whitening: Tensor, prior: Tensor | None = None, *, temperature: float = 1.0
) -> HeadWeights:
    """The head whose logits are log p(x | class) + log prior, up to a term common to all classes.

    It is computed in the dtype of its arguments (take float64), and rounded to float32 at the end.

    Args:
        means: floating (labels, hidden).
        whitening: floating (hidden, hidden), of the covariance that the classes share.
        prior: floating (labels,), of any scale, above 0; None is uniform.
        temperature: as in `HeadWeights`.

    Raises:
        ValueError: if shapes or dtypes do not match, or a weight is not finite.
    """
    _check_classes(means, whitening)
    if prior is not None and (prior.shape != means.shape[:1] or prior.dtype != means.dtype):
        raise ValueError(f"prior is {prior.dtype} {tuple(prior.shape)}, not like means")
    weight, bias = (part.float() for part in reference.discriminant(means, whitening, prior))
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise ValueError("the head is not finite: look at the means, and for a prior of 0")
    return HeadWeights(weight.cpu().numpy(), bias.cpu().numpy(), temperature)


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Classes with one covariance before a background, laid out for one pass over a row.

    Attributes:
        centre: (hidden,), m: the average of the means.
        matrix: (2 * hidden + labels, hidden): the whitening of the classes, that of the background,
            and a discriminant for each class.
        offset: (2 * hidden + labels,): what to add to matrix @ (x - centre).
    """

    centre: Tensor
    matrix: Tensor
    offset: Tensor


def gaussians(
    means: Tensor,
    whitening: Tensor,
    background_mean: Tensor,
    background_whitening: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> Gaussians:
    """Lay out what `lda_scores` needs. Waits for the device.

    It is computed in the dtype of the arguments (take float64).

    Args:
        means: floating (labels, hidden): only labels that have rows, or what lies in the middle of
            everything looks familiar.
        whitening: (hidden, hidden), lower triangular, of the covariance that the classes share.
        background_mean: (hidden,).
        background_whitening: (hidden, hidden), lower triangular, of the covariance of all rows.
        dtype: what the result is rounded to, once.

    Raises:
        ValueError: if shapes or dtypes do not match.
    """
    _check_classes(means, whitening)
    _check_classes(background_mean[None], background_whitening)
    middle = means.mean(0)
    white = (means - middle) @ whitening.T
    matrix = torch.cat([whitening, background_whitening, white @ whitening])
    aside = background_whitening @ (middle - background_mean)
    offset = torch.cat([torch.zeros_like(middle), aside, -0.5 * white.square().sum(1)])
    return Gaussians(middle.to(dtype), matrix.to(dtype), offset.to(dtype))


def _check_classes(means: Tensor, whitening: Tensor) -> None:
    hidden = whitening.shape[-1]
    if means.ndim != 2 or means.shape[1] != hidden or 0 in means.shape:
        raise ValueError(f"means are {tuple(means.shape)}, expected (labels, {hidden})")
    if whitening.shape != (hidden, hidden) or whitening.dtype != means.dtype:
        raise ValueError(
            f"whitening is {whitening.dtype} {tuple(whitening.shape)}, "
            f"expected {means.dtype} ({hidden}, {hidden})"
        )
    if not torch.equal(whitening, whitening.tril()):
        raise ValueError("whitening is not lower triangular; make it with whiten()")


@dataclass(frozen=True, slots=True, eq=False)
class LdaScores:
    """One entry per row of the batch, in its order.

    Attributes:
        relative: float32 (rows,): min_c d_c(x) - d_0(x), the squared Mahalanobis distance to the
            nearest class less that to the background; the higher, the less a row belongs to any.
        distance: float32 (rows,): min_c d_c(x) by itself, never negative (Lee et al. 2018).
        status: int32 (rows,); `status.NOT_FINITE` where the scores are NaN, since a feature or the
            result is not finite.
    """

    relative: Tensor
    distance: Tensor
    status: Tensor


def lda_scores(x: Tensor, classes: Gaussians) -> LdaScores:
    """Say how little each row belongs to any class, in two launches; no distance is stored.

    The relative score is less fooled by what all classes have in common than the distance (Ren et
    al. 2021, arXiv 2106.09022). Sums are float32. A row's scores are the same to the bit in any
    batch and at any place. May be captured in a CUDA graph. There is no gradient.

    Args:
        x: float32 (rows, hidden), each row contiguous. float64 takes the reference path, and all
            that is said to be float32 is then float64.
        classes: of the dtype of `x`.

    Raises:
        ValueError: if shapes, dtypes or devices do not match, or a gradient would be needed.
    """
    hidden = classes.centre.shape[0]
    if x.ndim != 2 or x.shape[1] != hidden or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}, expected float32 (rows, {hidden})")
    if x.dtype != classes.matrix.dtype or x.device != classes.matrix.device:
        raise ValueError(
            f"x is {x.dtype} on {x.device}, "
            f"the classes {classes.matrix.dtype} on {classes.matrix.device}"
        )
    if hidden > 1 and x.stride(1) != 1:
        raise ValueError("a row of x is not contiguous; call x.contiguous()")
    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError("lda_scores has no gradient: detach() x")
    return LdaScores(*_lda_scores(x, classes.centre, classes.matrix, classes.offset))


@torch.library.custom_op("honed::lda_scores", mutates_args=())
def _lda_scores(
    x: Tensor, centre: Tensor, matrix: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if x.dtype == torch.float64 or not runs_triton(x):
        return reference.lda_scores(x, centre, matrix, offset)
    from honed_kernels.triton_kernels.lda_scores import launch

    outputs = _outputs(x)
    launch(x, centre, matrix, offset, *outputs)
    return outputs


@_lda_scores.register_fake
def _(x: Tensor, centre: Tensor, matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x)


def _outputs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.shape[0]
    return (
        x.new_empty((rows,)),
        x.new_empty((rows,)),
        x.new_empty((rows,), dtype=torch.int32),
    )
