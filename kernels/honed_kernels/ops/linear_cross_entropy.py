"""The training loss of a head, `linear` then `cross_entropy`, without its logits in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.reference import linear_cross_entropy as reference
from honed_kernels.reference.linear_cross_entropy import Objective, Reduction

_REDUCTIONS = get_args(Reduction)
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    ignore_index: int = -100,
    teacher_logits: Tensor | None = None,
    distillation_weight: float = 1.0,
    distillation_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """The loss of logits x @ weight.T + bias; differentiable once in x, weight and bias.

    A row's loss is `row_weight` times (cross entropy + distillation). The cross entropy is that of
    `torch.nn.functional.cross_entropy`: the smoothed target times the class's weight. Distillation
    is `distillation_weight` * T^2 * KL(softmax(teacher_logits / T) || softmax(logits / T)) with
    T = `distillation_temperature` (Hinton et al. 2015, arXiv 1503.02531).

    "mean" divides the sum by the rows' row weights, with int64 targets each times
    `class_weight[target]`, summed over the rows that count; if that is 0, as when all rows are
    ignored, the loss and all gradients are 0 where PyTorch's are NaN.

    A row whose target is `ignore_index` or whose weight is 0 does not count: whatever it holds, its
    loss and its share of all gradients are 0. A logit of minus infinity switches its label off. A
    row with another logit that is not finite, with all labels off or with a target out of range
    has a NaN loss and gradient, and so has all that is summed over it (the last: also what is
    divided by the sum). On a GPU nothing waits for the host, and results repeat to the bit; logits
    are made in registers, twice, and their gradient, in the dtype of x, lies in memory for at most
    2**24 of them at a time (or 256 labels, if there are more rows than that holds).

    Args:
        x: float16, bfloat16, float32 or (by the reference alone) float64 (rows, hidden).
        weight: (labels, hidden), of the dtype of x.
        bias: (labels,), of the dtype of x, or None.
        target: int64 (rows,) labels, or floating (rows, labels) probabilities. A row of zeros has
            no cross entropy: with a teacher, it is a row without label.
        label_smoothing: how much of each target is spread over all labels, 0 to 1.
        class_weight: floating (labels,).
        row_weight: floating (rows,).
        ignore_index: the int64 target of rows that do not count.
        teacher_logits: floating (rows, labels), such as those of the previous version.
        distillation_weight: of the term that pulls towards the teacher.
        distillation_temperature: above 0.
        reduction: "none", "mean" or "sum", of the rows' losses.

    Returns:
        float32 (float64 if x is): (rows,) for "none", else ().

    Raises:
        ValueError: if shapes, dtypes, devices or options are not as above, or if anything but x,
            weight and bias requires a gradient.
    """
    objective = Objective(
        target, class_weight, row_weight, teacher_logits, label_smoothing, ignore_index,
        distillation_weight, distillation_temperature, reduction,
    )  # fmt: skip
    _check_head(x, weight, bias)
    _check_options(objective)
    _check_tensors(x, weight.shape[0], objective)
    training = torch.is_grad_enabled()
    need_weight = weight.requires_grad or (bias is not None and bias.requires_grad)
    made = _OPS.linear_cross_entropy(
        x, weight, bias, target, class_weight, row_weight, teacher_logits, label_smoothing,
        ignore_index, distillation_weight, distillation_temperature, reduction,
        training and x.requires_grad, training and need_weight,
    )  # fmt: skip
    loss: Tensor = made[0]
    return loss


def _check_head(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or not weight.numel():
        raise ValueError(
            f"x {tuple(x.shape)} and weight {tuple(weight.shape)} must be (rows, hidden) and "
            "(labels, hidden), with at least one label and column"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be ({len(weight)},)")
    dtypes = {x.dtype, weight.dtype} if bias is None else {x.dtype, weight.dtype, bias.dtype}
    if x.dtype not in _DTYPES or len(dtypes) > 1:
        names = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"x, weight and bias are {names}: cast them to one floating dtype")
    if any(tensor is not None and tensor.device != x.device for tensor in (weight, bias)):
        raise ValueError(f"weight and bias must be on {x.device}, as x is")


def _check_options(objective: Objective) -> None:
    if objective.reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {objective.reduction!r} must be one of {_REDUCTIONS}")
    if not 0 <= objective.label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {objective.label_smoothing}, expected 0 to 1")
    if not 0 < (temperature := objective.distillation_temperature) < math.inf:
        raise ValueError(f"distillation_temperature is {temperature}, expected above 0")
    if not math.isfinite(objective.distillation_weight):
        raise ValueError(f"distillation_weight is {objective.distillation_weight}")


def _check_tensors(x: Tensor, num_labels: int, objective: Objective) -> None:
    if not objective.soft and objective.target.dtype != torch.int64:
        raise ValueError(f"target is {objective.target.dtype}, expected int64 or floating")
    rows = (x.shape[0],)
    expected = {
        "target": (*rows, num_labels) if objective.soft else rows,
        "class_weight": (num_labels,),
        "row_weight": rows,
        "teacher_logits": (*rows, num_labels),
    }
    for name, shape in expected.items():
        tensor: Tensor | None = getattr(objective, name)
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} must be {shape}")
        if name != "target" and not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype}, expected a floating dtype")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, expected {x.device}, as x is")
        if tensor.requires_grad:
            raise ValueError(f"{name} requires a gradient, but is taken as constant: detach it")


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    class_weight: Tensor | None,
    row_weight: Tensor | None,
    teacher_logits: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    distillation_weight: float,
    distillation_temperature: float,
    reduction: str,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, and what `_backward` needs: nothing where the reference runs."""
    objective = Objective(
        target, class_weight, row_weight, teacher_logits, label_smoothing, ignore_index,
        distillation_weight, distillation_temperature, reduction,
    )  # fmt: skip
    if not _triton(x):
        loss = reference.linear_cross_entropy(x, weight, bias, objective)
        scale, stats, push, clean = (loss.new_empty(0) for _ in range(4))
        return loss, scale, stats, push, clean
    from honed_kernels.triton_kernels.cross_entropy_plan import allocate, step_of
    from honed_kernels.triton_kernels.linear_cross_entropy import forward

    step = step_of(x, weight, bias, objective, need_x, need_weight)
    made = allocate(step)
    forward(step, made)
    return made


def _fake_forward(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    objective = Objective(*rest[:9])
    if not _triton(x):
        shape = x.shape[:1] if objective.reduction == "none" else ()
        loss = x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))
        scale, stats, push, clean = (loss.new_empty(0) for _ in range(4))
        return loss, scale, stats, push, clean
    from honed_kernels.triton_kernels.cross_entropy_plan import allocate, step_of

    return allocate(step_of(x, weight, bias, objective, *rest[9:]))


def _backward(
    grad_loss: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    class_weight: Tensor | None,
    row_weight: Tensor | None,
    teacher_logits: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    distillation_weight: float,
    distillation_temperature: float,
    reduction: str,
    need_x: bool,
    need_weight: bool,
    kept: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; one that is not needed has no element."""
    objective = Objective(
        target, class_weight, row_weight, teacher_logits, label_smoothing, ignore_index,
        distillation_weight, distillation_temperature, reduction,
    )  # fmt: skip
    grads = _grads(x, weight, bias, need_x, need_weight)
    if not _triton(x):
        found = reference.gradients(grad_loss, x, weight, bias, objective)
        for grad, value in zip(grads, found, strict=True):
            if grad.numel():
                grad.copy_(value)
        return grads
    from honed_kernels.triton_kernels.cross_entropy_plan import Forward, step_of
    from honed_kernels.triton_kernels.linear_cross_entropy import backward

    step = step_of(x, weight, bias, objective, need_x, need_weight)
    backward(grad_loss, step, Forward(grad_loss, *kept), grads)
    return grads


def _fake_backward(
    grad_loss: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _grads(x, weight, bias, *rest[9:11])


def _grads(
    x: Tensor, weight: Tensor, bias: Tensor | None, need_x: bool, need_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_x else 0),
        weight.new_empty(weight.shape if need_weight else 0),
        weight.new_empty(0 if bias is None or not need_weight else bias.shape),
    )


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            output = _OPS.linear_cross_entropy(*inputs)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:7], *output[1:])
        ctx.options = inputs[7:]
        return output

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        constants = (None,) * 11
        if grad_loss is None:
            return None, None, None, *constants
        tensors, kept = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
        grads = _OPS.linear_cross_entropy_backward(grad_loss, *tensors, *ctx.options, kept)
        need_x, need_weight = ctx.options[-2:]
        needed = (need_x, need_weight, need_weight and tensors[2] is not None)
        used = (grad if need else None for grad, need in zip(grads, needed, strict=True))
        return *used, *constants


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, *inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return _OPS.linear_cross_entropy_backward(*inputs)

    @staticmethod
    def backward(_: Any, *__: Tensor) -> None:
        raise RuntimeError("linear_cross_entropy cannot be differentiated twice")


def _register() -> None:
    """By hand: `torch.library.custom_op` takes as long for a small head as the device does."""
    forms: tuple[tuple[str, Any, Any, Any], ...] = (
        ("honed::linear_cross_entropy", _forward, _fake_forward, _Differentiable),
        ("honed::linear_cross_entropy_backward", _backward, _fake_backward, _Once),
    )
    for name, function, fake, gradient in forms:
        torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(name, "CompositeExplicitAutograd", function)
        torch.library.register_fake(name, fake)
        torch.library.impl(name, "Autograd", gradient.apply)


def _triton(x: Tensor) -> bool:
    return x.dtype != torch.float64 and runs_triton(x)


_OPS = torch.ops.honed
_register()
