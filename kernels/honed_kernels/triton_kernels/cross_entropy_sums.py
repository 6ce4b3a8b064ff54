"""Kernels of `linear_cross_entropy` that add up what programs have left: loss and gradients."""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.cross_entropy_tile import (
    load_stats,
    loss_of,
    merge,
    no_stats,
    rows_of,
    store_stats,
)

# Marked in each: what varies from model to model and from batch to batch must not recompile.


@triton.jit(do_not_specialize=["batch", "splits"])
def merge_kernel(
    stats,
    batch,
    splits,
    temperature,
    TAUGHT: tl.constexpr,
    UNROLLED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program merges the stats of all splits into the first, for BLOCK rows.

    Grid (blocks). stats [splits, 4 or 8, batch].
    """
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < batch
    found = no_stats(BLOCK, TAUGHT)
    for start in range(0, splits, UNROLLED):
        # No load waits for another.
        for split in tl.static_range(UNROLLED):
            at = stats + (start + split) * ((8 if TAUGHT else 4) * batch) + places
            other = load_stats(at, inside & (start + split < splits), batch, TAUGHT)
            found = merge(found, other, temperature, TAUGHT)
    store_stats(stats, places, batch, found, TAUGHT)


@triton.jit(do_not_specialize=["batch", "num_labels", "ignore_index"])
def finish_kernel(
    stats,
    target,
    class_weight,
    row_weight,
    loss,
    scale,
    batch,
    num_labels,
    ignore_index,
    distillation,
    temperature,
    TAUGHT: tl.constexpr,
    REDUCTION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Make the loss and what scales its gradient.

    Grid (1,), or any for reduction "none". stats [4 or 8, batch], loss [1] or, for "none", [batch],
    scale [1] (unused by "none"); the rest as in `stats_kernel`.
    """
    sums = tl.zeros([BLOCK], tl.float32)
    shares = tl.zeros([BLOCK], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(batch, BLOCK), tl.num_programs(0)):
        places, rows, counts, factor = rows_of(
            tile, batch, num_labels, target, row_weight, ignore_index, BLOCK
        )
        found = load_stats(stats + rows, places < batch, batch, TAUGHT)
        losses = tl.where(counts, factor * loss_of(found, distillation, temperature, TAUGHT), 0.0)
        if REDUCTION == "none":
            tl.store(loss + places, losses, mask=places < batch)
        else:
            sums += losses
            shares += tl.where(counts, factor * _share(target, class_weight, rows, num_labels), 0.0)
    if REDUCTION != "none":
        factor = 1.0
        if REDUCTION == "mean":
            share = tl.sum(shares)
            factor = tl.where(share != 0, 1 / share, 0.0)
        tl.store(loss, tl.sum(sums) * factor)
        tl.store(scale, factor)


@triton.jit
def _share(target, class_weight, rows, num_labels):
    """How much a row weighs in a mean, but for its own weight."""
    if class_weight is None or target.dtype.element_ty.is_floating():
        return 1.0
    else:
        label = tl.load(target + rows)
        label = tl.minimum(tl.maximum(label, 0), num_labels - 1)
        return tl.load(class_weight + label).to(tl.float32)


@triton.jit(do_not_specialize=["size_bias", "count_x", "count_weight"])
def settle_kernel(
    parts_x,
    parts_weight,
    parts_bias,
    grad_x,
    grad_weight,
    grad_bias,
    grad_loss,
    scale,
    size_x,
    size_weight,
    size_bias,
    count_x,
    count_weight,
    BLOCK: tl.constexpr,
):
    """One program adds the partial sums of BLOCK elements of one gradient, in order.

    Grid (blocks of x, then of weight, then of bias; none of what is None). parts_* [count, size]
    float32, grad_* [size]; grad_loss and scale [1] or None: what all are multiplied with.
    """
    factor = 1.0
    if grad_loss is not None:
        factor = tl.load(grad_loss) * tl.load(scale)
    block = tl.program_id(0)
    if parts_x is not None:
        block = _add_parts(parts_x, grad_x, factor, size_x, count_x, block, BLOCK)
    if parts_weight is not None:
        block = _add_parts(
            parts_weight, grad_weight, factor, size_weight, count_weight, block, BLOCK
        )
    if parts_bias is not None:
        _add_parts(parts_bias, grad_bias, factor, size_bias, count_weight, block, BLOCK)


@triton.jit
def _add_parts(parts, out, factor, size, count, block, BLOCK: tl.constexpr):
    """Add up this gradient's block if it is one; its number among those that follow."""
    if (block >= 0) & (block < tl.cdiv(size, BLOCK)):
        at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < size
        total = tl.zeros([BLOCK], tl.float32)
        for _ in range(count):
            total += tl.load(parts + at, mask=inside, other=0.0)
            parts += size
        tl.store(out + at, (total * factor).to(out.dtype.element_ty), mask=inside)
    return block - tl.cdiv(size, BLOCK)
