"""How `linear_cross_entropy` is cut into programs, and what passes from forward to backward.

As many labels as a tile holds, mean or sum: one pass over x makes the loss and, in partial sums,
the gradients but for their scale, which the backward pass knows. Else the forward pass keeps four
(with a teacher eight) numbers a row, and the backward pass makes the logits again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from honed_kernels.reference.linear_cross_entropy import Objective

# Up to here one launch makes the gradients of x and weight; beyond, each fills the GPU alone.
FEW_LABELS = 1024
_SPLITS = 32
# Enough programs to fill a large GPU.
_PROGRAMS = 128
_ROW_GROUPS = 32
_LABEL_GROUPS = 8
# Sharing out the columns shortens a pass, but each share makes the logits anew.
_COLUMN_GROUPS = 4
# Numbers in all partial sums of a weight's gradient: 32 MB, unless one needs more.
_PARTIAL_SUMS = 2**23

Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Form:
    """A tile, and how it is run: fixed by the labels and the dtype, never by the rows."""

    BLOCK_M: int
    BLOCK_C: int
    BLOCK_H: int
    num_warps: int
    num_stages: int


class Forward(NamedTuple):
    """The loss, and what the backward pass needs; what it does not need has no element.

    Attributes:
        loss: float32 (), or (rows,) for reduction "none".
        scale: float32 (): what the gradient of the summed rows' losses is multiplied with.
        stats: float32 (splits, 4 or 8, rows): the first split holds those of all labels.
        parts_x: float32 (1, rows, hidden), rows and labels in whole tiles; from one pass only, as
            all that follow.
        parts_weight: float32 (row groups, labels, hidden).
        parts_bias: float32 (row groups, labels).
    """

    loss: Tensor
    scale: Tensor
    stats: Tensor
    parts_x: Tensor
    parts_weight: Tensor
    parts_bias: Tensor


def form_of(num_labels: int, dtype: torch.dtype) -> Form:
    """The tile for so many labels: found by trying, so that none spills on any target of `aot`."""
    labels = max(32, 1 << (num_labels - 1).bit_length())
    few = labels <= FEW_LABELS
    if dtype == torch.float32:
        if labels <= 64:
            return Form(16, labels, 16, 4, 3)
        return Form(16, 256, 16, 8, 3) if labels == 256 else Form(16, 128, 16, 8, 1 if few else 2)
    if labels <= 64:
        return Form(16, labels, 64, 4, 1)
    if labels == 256:
        return Form(16, 256, 32, 8, 1)
    return Form(16, 128, 64, 8, 1) if few else Form(32, 128, 32, 4, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a forward and its backward pass work on; all contiguous, but x only within its rows.

    Attributes:
        x: (rows, hidden).
        weight: (labels, hidden), of the dtype of x.
        bias: (labels,), or None.
        objective: what to learn.
        need_x: whether x has a gradient.
        need_weight: whether weight and bias have.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    objective: Objective
    need_x: bool
    need_weight: bool

    @property
    def form(self) -> Form:
        """Its tile."""
        return form_of(len(self.weight), self.x.dtype)

    @property
    def one_pass(self) -> bool:
        """Whether the forward pass makes the gradients too."""
        summed = self.objective.reduction != "none"
        one_tile = len(self.weight) <= self.form.BLOCK_C
        return one_tile and summed and (self.need_x or self.need_weight)


def allocate(step: Step) -> Forward:
    """Where the forward pass writes; also for fake tensors."""
    x, one_pass, objective = step.x, step.one_pass, step.objective
    splits = 1 if one_pass else min(_SPLITS, tiles(len(step.weight), step.form.BLOCK_C))
    return Forward(
        _floats(x, x.shape[0]) if objective.reduction == "none" else _floats(x),
        _floats(x),
        _floats(x, splits, 4 if objective.teacher_logits is None else 8, x.shape[0]),
        *partial_sums(step, int(one_pass), grids_of(step)[1][0] if one_pass else 0),
    )


def partial_sums(step: Step, label_groups: int, row_groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where programs leave what they add up, in whole tiles; nothing for what is not needed."""
    (batch, hidden), form = step.x.shape, step.form
    row_groups = row_groups if step.need_weight else 0
    rows = tiles(batch, form.BLOCK_M) * form.BLOCK_M
    labels = tiles(len(step.weight), form.BLOCK_C) * form.BLOCK_C
    return (
        _floats(step.x, label_groups if step.need_x else 0, rows, hidden),
        _floats(step.x, row_groups, labels, hidden),
        _floats(step.x, row_groups, labels),
    )


def grids_of(step: Step) -> tuple[Grid, Grid]:
    """Groups of rows, labels and columns for the gradients of x and of weight; mostly one launch.

    A partial sum is kept for each label group (of x) or row group (of weight). Each row's sums are
    grouped by labels and columns alone, so they do not depend on the batch.
    """
    form, (num_labels, hidden) = step.form, step.weight.shape
    row_tiles, label_tiles = tiles(step.x.shape[0], form.BLOCK_M), tiles(num_labels, form.BLOCK_C)
    if num_labels <= FEW_LABELS:
        row_groups = min(_ROW_GROUPS, max(1, _PARTIAL_SUMS // (num_labels * hidden)))
        columns = min(_COLUMN_GROUPS, tiles(hidden, form.BLOCK_H))
        one = (torch.sym_min(row_tiles, row_groups), 1, columns)
        return one, one
    row_groups = max(1, _PROGRAMS // label_tiles)
    return (
        (row_tiles, min(_LABEL_GROUPS, label_tiles), 1),
        (torch.sym_min(row_tiles, row_groups), label_tiles, 1),
    )


def _floats(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def tiles(size: int, tile: int) -> int:
    """How many tiles cover a size."""
    return -(-size // tile)
