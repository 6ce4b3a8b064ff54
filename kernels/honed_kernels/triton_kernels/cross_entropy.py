"""Kernels of `linear_cross_entropy` with a matrix product; logits live in registers only.

What does leave a program is "push", the gradient of the rows' losses with respect to the logits,
for a bounded number of logits at a time. No two programs write to the same place, and all sums are
made in a fixed order: results repeat to the bit. `linear_cross_entropy` says when each is launched.
"""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.cross_entropy_tile import (
    load_stats,
    merge,
    no_stats,
    push_of,
    rows_of,
    store_stats,
    tile_of,
    tile_stats,
)

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
    push,
    clean,
    batch,
    num_labels,
    hidden,
    x_stride,
    ignore_index,
    smoothing,
    distillation,
    temperature,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    STAGES: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One program sums up one split of the labels for BLOCK_M rows.

    Grid (row tiles, splits). x [batch, hidden] with `x_stride` from row to row, weight [num_labels,
    hidden], bias [num_labels] or None, target [batch] or, if floating, [batch, num_labels],
    class_weight [num_labels] or None, row_weight [batch] or None, teacher [batch, num_labels] or
    None, stats [splits, 4 or with a teacher 8, batch]. Where one tile holds all labels, it may make
    push [batch, BLOCK_C] too, else None. clean [batch, hidden] or None: x, with 0 in the rows that
    do not count. Whatever those hold, 0 times it must be 0 in a product.
    """
    TAUGHT: tl.constexpr = teacher is not None
    COUNT: tl.constexpr = 8 if TAUGHT else 4
    head = (x, weight, bias, hidden, x_stride)
    aim = (target, class_weight, teacher, num_labels, smoothing)
    split = tl.program_id(1)
    places, rows, counts, factor = rows_of(
        tl.program_id(0), batch, num_labels, target, row_weight, ignore_index, BLOCK_M
    )
    if push is not None:
        tile = tile_of(head, aim, rows, 0, BLOCK_C, BLOCK_H, STAGES, EVEN, UPCAST)
        found = tile_stats(tile[0], tile[1], tile[2], temperature, TAUGHT)
        value = push_of(tile[0], tile[1], tile[2], found, distillation, temperature, TAUGHT)
        value = tl.where(counts[:, None], value * factor[:, None], 0.0)
        at = push + places[:, None] * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
        tl.store(at, value.to(push.dtype.element_ty), mask=(places < batch)[:, None])
    else:
        found = no_stats(BLOCK_M, TAUGHT)
        for index in tl.range(
            split, tl.cdiv(num_labels, BLOCK_C), tl.num_programs(1), disable_licm=True
        ):
            tile = tile_of(head, aim, rows, index, BLOCK_C, BLOCK_H, STAGES, EVEN, UPCAST)
            more = tile_stats(tile[0], tile[1], tile[2], temperature, TAUGHT)
            found = merge(found, more, temperature, TAUGHT)
    store_stats(stats + split * COUNT * batch, places, batch, found, TAUGHT)
    if clean is not None:
        _clean(x, clean, places, rows, counts, batch, hidden, x_stride, BLOCK_H)


@triton.jit
def _clean(x, clean, places, rows, counts, batch, hidden, x_stride, BLOCK_H: tl.constexpr):
    """Copy the rows that count, each split some columns."""
    for start in range(tl.program_id(1) * BLOCK_H, hidden, tl.num_programs(1) * BLOCK_H):
        column = start + tl.arange(0, BLOCK_H)[None, :]
        inside = (column < hidden) & (places < batch)[:, None]
        at = x + rows[:, None] * x_stride + column
        features = tl.load(at, mask=inside & counts[:, None], other=0.0)
        tl.store(clean + places[:, None] * hidden + column, features, mask=inside)


@triton.jit(do_not_specialize=[*_VARYING, "first"])
def push_kernel(
    x,
    weight,
    bias,
    target,
    class_weight,
    row_weight,
    teacher,
    upstream,
    stats,
    push,
    batch,
    num_labels,
    hidden,
    x_stride,
    ignore_index,
    first,
    width,
    smoothing,
    distillation,
    temperature,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    STAGES: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One program makes the logits of one tile again, and of them its push.

    Grid (row tiles, label tiles). Arguments as in `stats_kernel`, and: upstream [batch] or None
    (all 1); push [batch, width], of the labels from tile `first`, 0 past the last label.
    """
    TAUGHT: tl.constexpr = teacher is not None
    head = (x, weight, bias, hidden, x_stride)
    aim = (target, class_weight, teacher, num_labels, smoothing)
    tile = tl.program_id(1)
    places, rows, counts, factor = rows_of(
        tl.program_id(0), batch, num_labels, target, row_weight, ignore_index, BLOCK_M
    )
    if upstream is not None:
        factor *= tl.load(upstream + rows)
    logits, goal, taught = tile_of(
        head, aim, rows, first + tile, BLOCK_C, BLOCK_H, STAGES, EVEN, UPCAST
    )
    found = load_stats(stats + rows, places < batch, batch, TAUGHT)
    value = push_of(logits, goal, taught, found, distillation, temperature, TAUGHT)
    value = tl.where(counts[:, None], value * factor[:, None], 0.0)
    at = push + places[:, None] * width + (tile * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    tl.store(at, value.to(push.dtype.element_ty), mask=(places < batch)[:, None])
