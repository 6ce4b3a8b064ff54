"""Launching the kernels of `linear_cross_entropy`; `cross_entropy_plan` says which and how."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from honed_kernels.backend import interpreted
from honed_kernels.triton_kernels.cross_entropy import gradient_kernel, stats_kernel
from honed_kernels.triton_kernels.cross_entropy_plan import (
    Forward,
    Grid,
    Step,
    grids_of,
    partial_sums,
    tiles,
)
from honed_kernels.triton_kernels.cross_entropy_sums import finish_kernel, settle_kernel

FINISH_BLOCK = 256
SETTLE_BLOCK = 1024

Grads = tuple[Tensor, Tensor, Tensor]
Parts = tuple[Tensor | None, Tensor | None, Tensor | None]


def forward(step: Step, made: Forward) -> None:
    """Fill the loss, and in one pass the partial sums of the gradients."""
    if step.one_pass:
        _gradient(grids_of(step)[0], step, None, made.stats, _kept(step, *made[3:]), fused=True)
    elif len(step.x):
        stats_kernel[tiles(len(step.x), step.form.BLOCK_M), len(made.stats)](
            *_tensors(step),
            made.stats,
            *_numbers(step),
            step.objective.distillation_temperature,
            **_tile(step),
        )
    _finish(step, made)


def backward(grad_loss: Tensor, step: Step, made: Forward, grads: Grads) -> None:
    """Fill the gradients of x, weight and bias, but for those that have no element."""
    grad_loss, each = grad_loss.contiguous(), step.objective.reduction == "none"
    if step.one_pass:
        parts = _kept(step, *made[3:])
    else:
        parts = _made_again(step, made.stats, grad_loss if each else None)
    _settle(parts, grads, None if each else grad_loss, made.scale)


def _made_again(step: Step, stats: Tensor, upstream: Tensor | None) -> Parts:
    by_rows, by_labels = grids_of(step)
    parts = _kept(step, *partial_sums(step, by_rows[1], by_labels[0]))
    if by_rows == by_labels:
        _gradient(by_rows, step, upstream, stats, parts)
    else:
        _gradient(by_rows, step, upstream, stats, (parts[0], None, None))
        _gradient(by_labels, step, upstream, stats, (None, *parts[1:]))
    return parts


def _gradient(
    grid: Grid,
    step: Step,
    upstream: Tensor | None,
    stats: Tensor,
    parts: Parts,
    *,
    fused: bool = False,
) -> None:
    if grid[0] and any(part is not None for part in parts):
        gradient_kernel[grid](
            *_tensors(step),
            upstream,
            stats,
            *parts,
            *_numbers(step),
            step.objective.distillation_weight,
            step.objective.distillation_temperature,
            FUSED=fused,
            COLUMN_GROUPS=grid[2],
            **_tile(step),
        )


def _finish(step: Step, made: Forward) -> None:
    objective = step.objective
    blocks = tiles(len(step.x), FINISH_BLOCK) if objective.reduction == "none" else 1
    if blocks:
        finish_kernel[(blocks,)](
            made.stats,
            objective.target,
            objective.class_weight,
            objective.row_weight,
            made.loss,
            made.scale,
            len(step.x),
            len(step.weight),
            len(made.stats),
            objective.ignore_index,
            objective.distillation_weight,
            objective.distillation_temperature,
            TAUGHT=objective.teacher_logits is not None,
            REDUCTION=objective.reduction,
            BLOCK=FINISH_BLOCK,
        )


def _settle(parts: Parts, grads: Grads, grad_loss: Tensor | None, scale: Tensor) -> None:
    """All parts in order, times what arrives from above, rounded once."""
    sizes = [grad.numel() for grad in grads]
    blocks = sum(tiles(size, SETTLE_BLOCK) for size in sizes)
    if blocks:
        settle_kernel[(blocks,)](
            *parts,
            *grads,
            grad_loss,
            scale,
            *sizes,
            *(0 if part is None else part.stride(0) for part in parts),
            *(0 if part is None else len(part) for part in parts[:2]),
            BLOCK=SETTLE_BLOCK,
        )


def _kept(step: Step, x: Tensor, weight: Tensor, bias: Tensor) -> Parts:
    return (
        x if step.need_x else None,
        weight if step.need_weight else None,
        bias if step.need_weight and step.bias is not None else None,
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


def _numbers(step: Step) -> tuple[float, ...]:
    batch, hidden = step.x.shape
    # A single row may have any stride, and a new kind of number would compile anew.
    stride = step.x.stride(0) if batch > 1 else hidden
    objective = step.objective
    smoothing = objective.label_smoothing
    return batch, len(step.weight), hidden, stride, objective.ignore_index, smoothing


def _tile(step: Step) -> dict[str, Any]:
    even = step.x.shape[1] % step.form.BLOCK_H == 0
    return {**asdict(step.form), "EVEN": even, "UPCAST": interpreted()}
