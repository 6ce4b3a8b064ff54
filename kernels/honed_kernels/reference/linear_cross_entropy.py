"""The specification of a head's training loss: linear, cross entropy, distillation.

The losses and gradients are written out, so that the kernels can be read beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["none", "mean", "sum"]


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """What a head is to learn, as `ops.linear_cross_entropy` explains it.

    Attributes:
        target: int64 (rows,), or floating (rows, labels).
        class_weight: floating (labels,), or None.
        row_weight: floating (rows,), or None.
        teacher_logits: floating (rows, labels), or None.
        label_smoothing: 0 to 1.
        ignore_index: the target of rows that do not count.
        distillation_weight: of the term that pulls towards the teacher.
        distillation_temperature: above 0.
        reduction: of the rows' losses.
    """

    target: Tensor
    class_weight: Tensor | None
    row_weight: Tensor | None
    teacher_logits: Tensor | None
    label_smoothing: float
    ignore_index: int
    distillation_weight: float
    distillation_temperature: float
    reduction: str

    @property
    def soft(self) -> bool:
        """Whether targets are probabilities."""
        return self.target.is_floating_point()


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor | None, objective: Objective
) -> Tensor:
    """The loss, in float64 if `x` is, else in float32; arguments are taken as valid.

    Args:
        x: floating (rows, hidden).
        weight: floating (labels, hidden).
        bias: floating (labels,), or None.
        objective: what to learn.
    """
    losses = _losses(_logits(x, weight, bias, objective), objective)
    if objective.reduction == "none":
        return losses
    return losses.sum() * scale(objective, len(weight), losses.dtype)


def gradients(
    grad_loss: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, objective: Objective
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias (also where there is none), in the dtypes of x and weight.

    Args:
        grad_loss: the gradient of the loss, of its shape.
        x: as in `linear_cross_entropy`, like all that follow.
        weight: floating (labels, hidden).
        bias: floating (labels,), or None.
        objective: what to learn.
    """
    logits = _logits(x, weight, bias, objective)
    goal = _goal(objective, logits)
    push = goal.sum(1, keepdim=True) * torch.softmax(logits, 1) - goal
    if objective.teacher_logits is not None:
        temperature = objective.distillation_temperature
        teacher = torch.softmax(objective.teacher_logits.to(logits.dtype) / temperature, 1)
        student = torch.softmax(logits / temperature, 1)
        push = push + objective.distillation_weight * temperature * (student - teacher)
    if objective.reduction != "none":
        grad_loss = grad_loss * scale(objective, len(weight), logits.dtype)
    push = push * (_weights(objective, len(weight), logits.dtype) * grad_loss)[:, None]
    counts = _counts(objective)[:, None]
    push = torch.where(counts, push, 0.0)
    rows = torch.where(counts, x, 0.0).to(push.dtype)
    return (
        (push @ weight.to(push.dtype)).to(x.dtype),
        (push.T @ rows).to(weight.dtype),
        push.sum(0).to(weight.dtype if bias is None else bias.dtype),
    )


def scale(objective: Objective, num_labels: int, dtype: torch.dtype) -> Tensor:
    """What the sum of the rows' losses is multiplied with: 0 if nothing counts."""
    if objective.reduction != "mean":
        return objective.target.new_ones((), dtype=dtype)
    share = _weights(objective, num_labels, dtype)
    if objective.class_weight is not None and not objective.soft:
        known = objective.target.clamp(0, num_labels - 1)
        share = share * objective.class_weight.to(dtype)[known]
    total = torch.where(_counts(objective), share, 0.0).sum()
    return torch.where(total != 0, 1 / total, 0.0)


def _counts(objective: Objective) -> Tensor:
    if objective.soft:
        counts = objective.target.new_ones(len(objective.target), dtype=torch.bool)
    else:
        counts = objective.target != objective.ignore_index
    return counts if objective.row_weight is None else counts & (objective.row_weight != 0)


def _weights(objective: Objective, num_labels: int, dtype: torch.dtype) -> Tensor:
    """How much each row counts if it does; a target out of range counts NaN."""
    weights = objective.row_weight
    if weights is None:
        weights = objective.target.new_ones(len(objective.target), dtype=dtype)
    if not objective.soft:
        known = (objective.target >= 0) & (objective.target < num_labels)
        weights = torch.where(known, weights, torch.nan)
    return weights.to(dtype)


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None, objective: Objective) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = torch.where(_counts(objective)[:, None], x, 0.0).to(wide)
    logits = rows @ weight.to(wide).T
    return logits if bias is None else logits + bias.to(wide)


def _goal(objective: Objective, logits: Tensor) -> Tensor:
    """How much of each label a row should have: smoothed, then times the label's weight."""
    num_labels = logits.shape[1]
    smoothing = objective.label_smoothing
    if objective.soft:
        goal = objective.target.to(logits.dtype) * (1 - smoothing)
    else:
        labels = torch.arange(num_labels, device=logits.device)
        hit = objective.target[:, None] == labels
        goal = hit.to(logits.dtype) * (1 - smoothing)
    goal = goal + smoothing / num_labels
    if objective.class_weight is not None:
        goal = goal * objective.class_weight.to(logits.dtype)
    return goal


def _losses(logits: Tensor, objective: Objective) -> Tensor:
    """Each row's loss. Nothing is lost on a label that should have nothing: 0 log 0 = 0."""
    num_labels = logits.shape[1]
    goal, log_student = _goal(objective, logits), torch.log_softmax(logits, 1)
    losses = -torch.where(goal != 0, goal * log_student, 0.0).sum(1)
    if objective.teacher_logits is not None:
        temperature = objective.distillation_temperature
        log_student = torch.log_softmax(logits / temperature, 1)
        log_teacher = torch.log_softmax(objective.teacher_logits.to(logits.dtype) / temperature, 1)
        teacher = log_teacher.exp()
        apart = torch.where(teacher != 0, teacher * (log_teacher - log_student), 0.0).sum(1)
        losses = losses + objective.distillation_weight * temperature**2 * apart
    losses = torch.where(log_student.isnan().any(1), torch.nan, losses)
    losses = losses * _weights(objective, num_labels, logits.dtype)
    return torch.where(_counts(objective), losses, 0.0)
