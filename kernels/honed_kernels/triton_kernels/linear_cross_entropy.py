"""Launching the kernels of `linear_cross_entropy`; `cross_entropy_plan` says which and how."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from honed_kernels.backend import interpreted
from honed_kernels.triton_kernels.cross_entropy import push_kernel, stats_kernel
from honed_kernels.triton_kernels.cross_entropy_plan import (
    Forward,
    Step,
    partial_sums,
    tiles,
)
from honed_kernels.triton_kernels.cross_entropy_products import products_kernel
from honed_kernels.triton_kernels.cross_entropy_sums import (
    finish_kernel,
    merge_kernel,
    settle_kernel,
)

MERGE_BLOCK = 32
MERGE_UNROLLED = 8
FINISH_BLOCK = 1024
SETTLE_BLOCK = 1024

Outputs = tuple[Tensor | None, ...]
"""Of x, weight and bias."""


def forward(step: Step, made: Forward) -> None:
    """Fill the loss and the stats, and if one tile holds all labels, push."""
    batch, splits, objective = step.x.shape[0], made.stats.shape[0], step.objective
    if batch:
        stats_kernel[tiles(batch, step.form.BLOCK_M), splits](
            *_tensors(step),
            made.stats,
            made.push if step.one_pass else None,
            made.clean if step.need_weight else None,
            *_numbers(step),
            objective.label_smoothing,
            objective.distillation_weight,
            objective.distillation_temperature,
            **_tile(step),
        )
    if batch and splits > 1:
        merge_kernel[(tiles(batch, MERGE_BLOCK),)](
            made.stats,
            batch,
            splits,
            objective.distillation_temperature,
            TAUGHT=step.taught,
            UNROLLED=MERGE_UNROLLED,
            num_warps=1,
            BLOCK=MERGE_BLOCK,
        )
    _finish(step, made)


def backward(grad_loss: Tensor, step: Step, made: Forward, grads: Outputs) -> None:
    """Fill the gradients of x, weight and bias, but for those that have no element."""
    grad_loss, each = grad_loss.contiguous(), step.objective.reduction == "none"
    wanted = tuple(grad if grad is not None and grad.numel() else None for grad in grads)
    if wanted == (None, None, None):
        return
    width, labels = step.width, step.labels
    room = made.push if step.one_pass else step.x.new_empty(step.x.shape[0] * width)
    parts = partial_sums(step)
    factors = (None, None) if each else (grad_loss, made.scale)
    for first in range(0, labels, width):
        now = min(width, tiles(labels - first, step.form.BLOCK_C) * step.form.BLOCK_C)
        if not step.one_pass:
            _push(step, made.stats, grad_loss if each else None, room, first, now)
        _products(step, room, made.clean, parts, wanted, factors, first, now)
    _settle(parts, wanted, factors)


def _push(
    step: Step, stats: Tensor, upstream: Tensor | None, push: Tensor, first: int, width: int
) -> None:
    form, objective = step.form, step.objective
    if step.x.shape[0]:
        push_kernel[tiles(step.x.shape[0], form.BLOCK_M), tiles(width, form.BLOCK_C)](
            *_tensors(step),
            upstream,
            stats,
            push,
            *_numbers(step),
            first // form.BLOCK_C,
            width,
            objective.label_smoothing,
            objective.distillation_weight,
            objective.distillation_temperature,
            **_tile(step),
        )


def _products(
    step: Step,
    push: Tensor,
    clean: Tensor,
    parts: Outputs,
    wanted: Outputs,
    factors: tuple[Tensor | None, Tensor | None],
    first: int,
    width: int,
) -> None:
    form, (rows, hidden) = step.products, step.x.shape
    columns, label_tiles = tiles(hidden, form.BLOCK_N), tiles(width, form.BLOCK_M)
    out = [grad if part is None else part for part, grad in zip(parts, wanted, strict=True)]
    programs = (
        tiles(rows, form.BLOCK_M) * columns * step.splits_x,
        label_tiles * columns * step.splits_weight,
        label_tiles * step.splits_weight,
    )
    products_kernel[
        (sum(count for count, one in zip(programs, out, strict=True) if one is not None),)
    ](
        push,
        clean,
        step.weight,
        *out,
        *factors,
        rows,
        step.labels,
        hidden,
        first,
        width,
        step.splits_x,
        step.splits_weight,
        SUMMED=parts[0] is not None,
        **form._asdict(),
        UPCAST=interpreted(),
    )


def _finish(step: Step, made: Forward) -> None:
    objective = step.objective
    blocks = tiles(step.x.shape[0], FINISH_BLOCK) if objective.reduction == "none" else 1
    if blocks:
        finish_kernel[(blocks,)](
            made.stats,
            objective.target,
            objective.class_weight,
            objective.row_weight,
            made.loss,
            made.scale,
            step.x.shape[0],
            step.labels,
            objective.ignore_index,
            objective.distillation_weight,
            objective.distillation_temperature,
            TAUGHT=step.taught,
            REDUCTION=objective.reduction,
            BLOCK=FINISH_BLOCK,
        )


def _settle(parts: Outputs, wanted: Outputs, factors: tuple[Tensor | None, Tensor | None]) -> None:
    """All parts in order, times what arrives from above, rounded once."""
    sizes = [0 if part is None else part[0].numel() for part in parts]
    blocks = sum(tiles(size, SETTLE_BLOCK) for size in sizes)
    if blocks:
        settle_kernel[(blocks,)](
            *parts,
            *wanted,
            *factors,
            *sizes,
            *(0 if part is None else part.shape[0] for part in parts[:2]),
            BLOCK=SETTLE_BLOCK,
        )


def _tensors(step: Step) -> tuple[Tensor | None, ...]:
    objective = step.objective
    return (
        step.x,
        step.weight,
        step.bias,
        objective.target,
        objective.class_weight,
        objective.row_weight,
        objective.teacher_logits,
    )


def _numbers(step: Step) -> tuple[int, ...]:
    batch, hidden = step.x.shape
    # A single row may have any stride, and a new kind of number would compile anew.
    stride = step.x.stride(0) if batch > 1 else hidden
    return batch, step.labels, hidden, stride, step.objective.ignore_index


def _tile(step: Step) -> dict[str, Any]:
    even = step.x.shape[1] % step.form.BLOCK_H == 0
    return {**step.form._asdict(), "EVEN": even, "UPCAST": interpreted()}
