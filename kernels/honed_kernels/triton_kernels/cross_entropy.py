"""Kernels of `linear_cross_entropy` with a matrix product: logits live in registers only.

No two programs write to the same place, and all sums are made in a fixed order: results repeat to
the bit. `linear_cross_entropy` says when each is launched.
"""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.cross_entropy_tile import (
    load_columns,
    load_stats,
    merge,
    no_stats,
    push_of,
    rows_of,
    store_stats,
    tile_of,
    tile_stats,
)
from honed_kernels.triton_kernels.widen import dot

# What varies from model to model and from batch to batch must not recompile.
_VARYING = ["batch", "num_labels", "ignore_index"]


@triton.jit(do_not_specialize=_VARYING)
def stats_kernel(
    x,
    weight,
    bias,
    target,
    class_weight,
    row_weight,
    teacher,
    stats,
    batch,
    num_labels,
    hidden,
    x_stride,
    ignore_index,
    smoothing,
    temperature,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One program sums up one split of the labels for BLOCK_M rows.

    Grid (row tiles, splits). x [batch, hidden] with `x_stride` from row to row, weight [num_labels,
    hidden], bias [num_labels] or None, target [batch] or, if floating, [batch, num_labels],
    class_weight [num_labels] or None, row_weight [batch] or None, teacher [batch, num_labels] or
    None, stats [splits, 4 or with a teacher 8, batch].
    """
    TAUGHT: tl.constexpr = teacher is not None
    COUNT: tl.constexpr = 8 if TAUGHT else 4
    head = (x, weight, bias, hidden, x_stride)
    aim = (target, class_weight, teacher, num_labels, smoothing)
    split = tl.program_id(1)
    places, rows, _, _ = rows_of(
        tl.program_id(0), batch, num_labels, target, row_weight, ignore_index, BLOCK_M
    )
    found = no_stats(BLOCK_M, TAUGHT)
    for tile in tl.range(
        split, tl.cdiv(num_labels, BLOCK_C), tl.num_programs(1), disable_licm=True
    ):
        logits, goal, taught = tile_of(head, aim, rows, tile, BLOCK_C, BLOCK_H, EVEN, UPCAST)
        more = tile_stats(logits, goal, taught, temperature, TAUGHT)
        found = merge(found, more, temperature, TAUGHT)
    store_stats(stats + split * COUNT * batch, places, batch, found, TAUGHT)


@triton.jit(do_not_specialize=_VARYING)
def gradient_kernel(
    x,
    weight,
    bias,
    target,
    class_weight,
    row_weight,
    teacher,
    upstream,
    stats,
    grad_x,
    grad_weight,
    grad_bias,
    batch,
    num_labels,
    hidden,
    x_stride,
    ignore_index,
    smoothing,
    distillation,
    temperature,
    FUSED: tl.constexpr,
    COLUMN_GROUPS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One program adds up what its row tiles and its label tiles contribute to its columns.

    Grid (row groups, label groups, COLUMN_GROUPS). Arguments as in `stats_kernel`, and: upstream
    [batch] or None (all 1). FUSED, where one tile holds all labels, makes the stats; else they are
    read. Partial sums in float32, each may be None: grad_x [label groups, batch, hidden],
    grad_weight [row groups, num_labels, hidden], grad_bias [row groups, num_labels], with batch and
    num_labels rounded up to whole tiles.
    """
    TAUGHT: tl.constexpr = teacher is not None
    head = (x, weight, bias, hidden, x_stride)
    aim = (target, class_weight, teacher, num_labels, smoothing)
    out = (grad_x, grad_weight, grad_bias)
    row_group = tl.program_id(0)
    label_group = tl.program_id(1)
    # What stays the same from tile to tile is cheaper made again than held in registers.
    for row_tile in tl.range(
        row_group, tl.cdiv(batch, BLOCK_M), tl.num_programs(0), disable_licm=True
    ):
        places, rows, counts, factor = rows_of(
            row_tile, batch, num_labels, target, row_weight, ignore_index, BLOCK_M
        )
        if upstream is not None:
            factor *= tl.load(upstream + rows)
        weighed = (places, rows, counts, factor)
        if FUSED:
            tile = tile_of(head, aim, rows, 0, BLOCK_C, BLOCK_H, EVEN, UPCAST)
            found = tile_stats(tile[0], tile[1], tile[2], temperature, TAUGHT)
            if tl.program_id(2) == 0:
                store_stats(stats, places, batch, found, TAUGHT)
            push = push_of(tile[0], tile[1], tile[2], found, distillation, temperature, TAUGHT)
            _contribute(
                push, head, out, weighed, 0, batch, num_labels, False,
                row_tile != row_group, COLUMN_GROUPS, BLOCK_C, BLOCK_H, EVEN, UPCAST,
            )  # fmt: skip
        else:
            found = load_stats(stats, rows, batch, TAUGHT)
            for index in tl.range(
                label_group, tl.cdiv(num_labels, BLOCK_C), tl.num_programs(1), disable_licm=True
            ):
                tile = tile_of(head, aim, rows, index, BLOCK_C, BLOCK_H, EVEN, UPCAST)
                push = push_of(tile[0], tile[1], tile[2], found, distillation, temperature, TAUGHT)
                _contribute(
                    push, head, out, weighed, index, batch, num_labels, index != label_group,
                    row_tile != row_group, COLUMN_GROUPS, BLOCK_C, BLOCK_H, EVEN, UPCAST,
                )  # fmt: skip


@triton.jit
def _contribute(
    push, head, out, weighed, tile, batch, num_labels, more_labels, more_rows,
    COLUMN_GROUPS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
    EVEN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Add a tile's share to the partial sums: onto what this program wrote for earlier tiles."""
    x, weight, _, hidden, x_stride = head
    grad_x, grad_weight, grad_bias = out
    places, rows, counts, factor = weighed
    BLOCK_M: tl.constexpr = places.shape[0]
    push = tl.where(counts[:, None], push * factor[:, None], 0.0)
    labels = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    first, step = tl.program_id(2) * BLOCK_H, COLUMN_GROUPS * BLOCK_H
    # Partial sums have room for whole tiles of rows and labels.
    place_x = tl.program_id(1) * (tl.cdiv(batch, BLOCK_M) * BLOCK_M) + places
    place_weight = tl.program_id(0).to(tl.int64) * (tl.cdiv(num_labels, BLOCK_C) * BLOCK_C) + labels
    if grad_bias is not None and first == 0:
        _add(grad_bias + place_weight, tl.sum(push, 0), True, more_rows, True)
    if not (UPCAST and weight.dtype.element_ty == tl.bfloat16):
        push = push.to(weight.dtype.element_ty)
    if grad_x is not None:
        weight_at = weight + tl.minimum(labels, num_labels - 1)[:, None].to(tl.int64) * hidden
        grad_at = grad_x + place_x[:, None] * hidden
        for start in range(first, hidden, step):
            column = start + tl.arange(0, BLOCK_H)[None, :]
            weights = load_columns(weight_at + column, column < hidden, EVEN)
            share = dot(push, weights, tl.zeros([BLOCK_M, BLOCK_H], tl.float32), UPCAST)
            _add(grad_at + column, share, column < hidden, more_labels, EVEN)
    if grad_weight is not None:
        push = tl.trans(push)
        x_at = x + rows[:, None] * x_stride
        grad_at = grad_weight + place_weight[:, None] * hidden
        for start in range(first, hidden, step):
            column = start + tl.arange(0, BLOCK_H)[None, :]
            inside = (column < hidden) | EVEN
            features = tl.load(x_at + column, mask=counts[:, None] & inside, other=0.0)
            share = dot(push, features, tl.zeros([BLOCK_C, BLOCK_H], tl.float32), UPCAST)
            _add(grad_at + column, share, inside, more_rows, EVEN)
    # The next tile reads what other threads of this program have written.
    tl.debug_barrier()


@triton.jit
def _add(at, value, inside, again, EVEN: tl.constexpr):
    if again:
        value += load_columns(at, inside, EVEN)
    if EVEN:
        tl.store(at, value)
    else:
        tl.store(at, value, mask=tl.broadcast_to(inside, at.shape))
