"""`rank_update`: labelled rows into, or out of, the sums that closed-form heads are solved from."""

from __future__ import annotations

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.reference import rank_update as reference


def rank_update(
    gram: Tensor,
    cross: Tensor,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    counts: Tensor | None = None,
) -> None:
    """Add rows to the sums in place, in float64 and one launch.

        gram += F.T @ diag(w) @ F,  cross += F.T @ diag(w) @ Y

    Linear discriminant analysis takes means and covariance from them (`ops.lda_scores.moments`),
    ridge regression solves (gram + r I) W = cross. They are raw sums: rows may come in any order,
    and the same rows with negated weights take out to the last bit what they brought, up to the
    rounding of the sums. A result is the same to the bit in every run on one architecture.

    A row with weight 0 is not read: so a captured CUDA graph takes fewer rows than it has room for.
    A feature that is not finite spoils the sums for good; see to it before.

    Args:
        gram: float64 (width, width), contiguous.
        cross: float64 (width, labels), contiguous.
        features: float32 (rows, width), each row contiguous.
        targets: int64 (rows,) label ids, where any other number leaves `cross` and `counts` alone;
            or float32 (rows, labels) soft targets, contiguous.
        weights: float64 (rows,), of any sign; None is 1 each.
        counts: float64 (3, labels), contiguous: how many rows speak for each label, the sum of
            their weights w * y, and of the squares of these, each with the sign of w * y.

    Raises:
        ValueError: if shapes, dtypes or devices are not as above, or a gradient would be needed.
    """
    _check(gram, cross, features, targets, weights, counts)
    _rank_update(gram, cross, counts, features, targets, weights)


def _check(
    gram: Tensor,
    cross: Tensor,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    counts: Tensor | None,
) -> None:
    if features.ndim != 2 or cross.ndim != 2 or 0 in (features.shape[1], cross.shape[1]):
        raise ValueError(
            f"features {tuple(features.shape)} and cross {tuple(cross.shape)}: "
            "expected (rows, width) and (width, labels)"
        )
    (rows, width), labels = features.shape, cross.shape[1]
    soft = targets.is_floating_point()
    aim = (torch.float32, (rows, labels)) if soft else (torch.int64, (rows,))
    for name, tensor, dtype, shape in (
        ("gram", gram, torch.float64, (width, width)),
        ("cross", cross, torch.float64, (width, labels)),
        ("features", features, torch.float32, (rows, width)),
        ("targets", targets, *aim),
        ("weights", weights, torch.float64, (rows,)),
        ("counts", counts, torch.float64, (3, labels)),
    ):
        if tensor is None:
            continue
        if tensor.dtype != dtype or tensor.shape != shape:
            raise ValueError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {dtype} {shape}"
            )
        if tensor is not features and not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous")
        if tensor.device != features.device:
            raise ValueError(f"{name} is on {tensor.device}, features on {features.device}")
        if torch.is_grad_enabled() and tensor.requires_grad:
            raise ValueError(f"{name} requires a gradient, and sums have none: detach() it")
    if features.stride(1) != 1 and width > 1:
        raise ValueError("a row of features is not contiguous; call features.contiguous()")


@torch.library.custom_op("honed::rank_update", mutates_args=("gram", "cross", "counts"))
def _rank_update(
    gram: Tensor,
    cross: Tensor,
    counts: Tensor | None,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
) -> None:
    if runs_triton(features):
        from honed_kernels.triton_kernels.rank_update import launch
    else:
        launch = reference.rank_update
    launch(gram, cross, features, targets, weights, counts)


@_rank_update.register_fake
def _(
    gram: Tensor,
    cross: Tensor,
    counts: Tensor | None,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
) -> None:
    pass
