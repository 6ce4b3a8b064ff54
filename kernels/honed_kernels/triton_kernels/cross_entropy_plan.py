"""How `linear_cross_entropy` is cut into programs, and what passes from forward to backward.

The forward pass keeps four (with a teacher eight) numbers a row; the backward pass makes the logits
again, and of them push, their gradient: for so many labels at a time as a bounded room holds.
Products of push are the gradients. As many labels as a tile holds, mean or sum: the forward pass
makes push on the side, without the scale, which the backward pass knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from honed_kernels.reference.linear_cross_entropy import Objective

# Beyond so many labels tiles are as large as registers allow: there is work for all of a GPU.
FEW_LABELS = 1024
# Groups of labels whose stats are made beside each other.
_SPLITS = 32
# Numbers of push at a time: 32 MB in 16 bits, which the L2 cache of a large GPU holds.
_ROOM = 2**24
# Partial sums over labels, so that few rows keep a GPU busy.
_SPLITS_X = 4
# Enough programs to fill a large GPU, and rows that are worth a sum of their own.
_PROGRAMS = 128
_ROWS_A_SPLIT = 2048


class Form(NamedTuple):
    """The tile of logits, and how it is run: fixed by labels and dtype, never by the rows."""

    BLOCK_M: int
    BLOCK_C: int
    BLOCK_H: int
    STAGES: int
    num_warps: int


class Products(NamedTuple):
    """The tile of a gradient, the depth of a step of its sum, and how it is run."""

    BLOCK_M: int
    BLOCK_N: int
    BLOCK_K: int
    STAGES: int
    num_warps: int


class Forward(NamedTuple):
    """The loss, and what the backward pass needs; what it does not need has no element.

    Attributes:
        loss: float32 (), or (rows,) for reduction "none".
        scale: float32 (): what the gradient of the summed rows' losses is multiplied with.
        stats: float32 (splits, 4 or 8, rows): the first split holds those of all labels.
        push: (rows, labels in a whole tile), of the dtype of x; if the forward pass makes it.
        clean: x with 0 in the rows that do not count, if weight needs a gradient.
    """

    loss: Tensor
    scale: Tensor
    stats: Tensor
    push: Tensor
    clean: Tensor


@cache
def form_of(num_labels: int, dtype: torch.dtype, *, full: bool) -> Form:
    """The tile for so many labels: found by trying, so that none spills on any target of `aot`.

    Args:
        num_labels: of the head.
        dtype: of the head.
        full: whether soft targets or a teacher fill registers with a second and third tile.
    """
    labels = max(32, 1 << (num_labels - 1).bit_length())
    few = labels <= FEW_LABELS
    if dtype == torch.float32:
        return Form(16, min(labels, 128), 16, 2, 4 if labels <= 64 else 8)
    if labels <= 64:
        return Form(16, labels, 64, 3, 4)
    if labels == 256:
        return Form(16 if full else 32, 256, 32, 4, 8)
    if full:
        return Form(16, 128, 64, 3, 4)
    return Form(64, 128, 64, 3, 8) if few else Form(128, 128, 64, 3, 8)


@cache
def products_of(num_labels: int, dtype: torch.dtype) -> Products:
    """The tile of gradients."""
    if dtype == torch.float32:
        return Products(64, 64, 16, 2, 8)
    few = num_labels <= FEW_LABELS
    return Products(64, 128, 64, 3, 4) if few else Products(128, 128, 64, 3, 8)


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def labels(self) -> int:
        """How many the head has."""
        return len(self.weight)

    @cached_property
    def taught(self) -> bool:
        """Whether there is a teacher."""
        return self.objective.teacher_logits is not None

    @cached_property
    def form(self) -> Form:
        """Its tile of logits."""
        full = self.taught or self.objective.soft
        return form_of(self.labels, self.x.dtype, full=full)

    @cached_property
    def products(self) -> Products:
        """Its tile of gradients."""
        return products_of(self.labels, self.x.dtype)

    @cached_property
    def one_pass(self) -> bool:
        """Whether the forward pass makes push too."""
        summed = self.objective.reduction != "none"
        one_tile = self.labels <= self.form.BLOCK_C
        return one_tile and summed and (self.need_x or self.need_weight)

    @cached_property
    def splits_x(self) -> int:
        """How many partial sums over labels the gradient of x has: by labels alone."""
        return 1 if self.labels <= FEW_LABELS else _SPLITS_X

    @cached_property
    def splits_weight(self) -> int:
        """How many partial sums the gradient of weight has: more than one of many rows only."""
        (rows, hidden), tile = self.x.shape, self.products
        programs = tiles(self.labels, tile.BLOCK_M) * tiles(hidden, tile.BLOCK_N)
        return max(1, min(_PROGRAMS // programs, rows // _ROWS_A_SPLIT))

    @cached_property
    def width(self) -> int:
        """How many labels push has room for: whole tiles and whole turns of the splits of x.

        The sums over labels have the same order whatever it is, so rows do not depend on the batch.
        """
        form, tile = self.form, self.products
        turn = max(form.BLOCK_C, tile.BLOCK_K * self.splits_x)
        room = max(1, _ROOM // max(1, self.x.shape[0]) // turn) * turn
        return min(room, tiles(self.labels, form.BLOCK_C) * form.BLOCK_C)


def step_of(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    objective: Objective,
    need_x: bool,
    need_weight: bool,
) -> Step:
    """A step of tensors of any layout."""
    dense = {
        name: tensor.contiguous()
        for name in ("target", "class_weight", "row_weight", "teacher_logits")
        if (tensor := getattr(objective, name)) is not None
    }
    return Step(
        x if x.stride(1) == 1 else x.contiguous(),
        weight.contiguous(),
        None if bias is None else bias.contiguous(),
        replace(objective, **dense),
        need_x,
        need_weight,
    )


def allocate(step: Step) -> Forward:
    """Where the forward pass writes; also for fake tensors."""
    x, objective, form = step.x, step.objective, step.form
    splits = min(_SPLITS, tiles(step.labels, form.BLOCK_C))
    return Forward(
        _floats(x, x.shape[0]) if objective.reduction == "none" else _floats(x),
        _floats(x),
        _floats(x, splits, 8 if step.taught else 4, x.shape[0]),
        x.new_empty((x.shape[0], form.BLOCK_C) if step.one_pass else 0),
        x.new_empty(x.shape if step.need_weight else 0),
    )


def partial_sums(step: Step) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Where programs leave what is added up later; None for what is whole at once."""
    whole_x = step.splits_x == 1 and step.width >= step.labels
    of_weight = step.need_weight and step.splits_weight > 1
    of_bias = of_weight and step.bias is not None
    return (
        _floats(step.x, step.splits_x, *step.x.shape) if step.need_x and not whole_x else None,
        _floats(step.x, step.splits_weight, *step.weight.shape) if of_weight else None,
        _floats(step.x, step.splits_weight, step.labels) if of_bias else None,
    )


def _floats(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def tiles(size: int, tile: int) -> int:
    """How many tiles cover a size."""
    return -(-size // tile)
