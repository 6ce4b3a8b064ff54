"""The kernel of `linear_cross_entropy` that makes the gradients, as products of push."""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.widen import dot


@triton.jit(do_not_specialize=["batch", "num_labels", "first", "splits_x", "splits_weight"])
def products_kernel(
    push,
    clean,
    weight,
    grad_x,
    grad_weight,
    grad_bias,
    grad_loss,
    scale,
    batch,
    num_labels,
    hidden,
    first,
    width,
    splits_x,
    splits_weight,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    SUMMED: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """One program makes one tile of one gradient of push [batch, width], of labels from `first`.

    Grid (tiles of x * splits_x, then of weight * splits_weight, then of bias likewise; none of what
    is None). If SUMMED, grad_x is partial sums [splits_x, batch, hidden] in float32, added to
    unless `first` is 0; with splits_weight above 1 the others are partial sums [splits_weight, ...]
    in float32. What is not is whole: times grad_loss and scale ([1] or None).
    """
    head = (push, clean, weight, batch, num_labels, hidden, first, width)
    columns = tl.cdiv(hidden, BLOCK_N)
    factor = 1.0
    if grad_loss is not None:
        factor = tl.load(grad_loss) * tl.load(scale)
    program = tl.program_id(0)
    of_x = 0
    if grad_x is not None:
        of_x = tl.cdiv(batch, BLOCK_M) * columns * splits_x
        tile = program // splits_x
        if program < of_x:
            _product_x(
                head, grad_x, 1.0 if SUMMED else factor, tile // columns, tile % columns,
                program % splits_x, splits_x, SUMMED, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, UPCAST,
            )  # fmt: skip
    if grad_weight is not None:
        factor = tl.where(splits_weight > 1, 1.0, factor)
        program -= of_x
        tiles = tl.cdiv(width, BLOCK_M) * splits_weight
        split = program % splits_weight
        if (program >= 0) & (program < tiles * columns):
            tile = program // splits_weight
            _product_weight(
                head, grad_weight, factor, tile // columns, tile % columns,
                split, splits_weight, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, UPCAST,
            )  # fmt: skip
        if grad_bias is not None:
            program -= tiles * columns
            if program >= 0:
                _sum_bias(
                    head, grad_bias, factor, program // splits_weight,
                    split, splits_weight, BLOCK_M, BLOCK_K, STAGES,
                )  # fmt: skip


@triton.jit
def _product_x(
    head, grad_x, factor, tile, column_tile, split, splits, SUMMED: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The product push @ weight, for this tile of rows and columns and this split's labels."""
    push, _, weight, batch, num_labels, hidden, first, width = head
    # Long numbers are of the tile, so that what each thread holds is short.
    place = tile.to(tl.int64) * BLOCK_M
    row = tl.arange(0, BLOCK_M)[:, None]
    column = (column_tile * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    depth = tl.arange(0, BLOCK_K)
    push += place * width
    origin = first.to(tl.int64)
    grad_x += (split * batch + place) * hidden
    inside = (row < batch - place) & (column < hidden)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    if SUMMED and first > 0:
        total += tl.load(grad_x + (row * hidden + column), mask=inside, other=0.0)
    for start in tl.range(split * BLOCK_K, width, splits * BLOCK_K, num_stages=STAGES):
        pushes = tl.load(
            push + start + (row * width + depth[None, :]),
            mask=(row < batch - place) & (depth[None, :] < width - start),
            other=0.0,
        )
        weights = tl.load(
            weight + (origin + start) * hidden + (depth[:, None] * hidden + column),
            mask=(depth[:, None] < num_labels - first - start) & (column < hidden),
            other=0.0,
        )
        total = dot(pushes, weights, total, UPCAST)
    value = (total * factor).to(grad_x.dtype.element_ty)
    tl.store(grad_x + (row * hidden + column), value, mask=inside)


@triton.jit
def _product_weight(
    head, grad_weight, factor, tile, column_tile, split, splits,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The product push.T @ clean, for this tile of labels and columns and this split's rows."""
    push, clean, _, batch, num_labels, hidden, first, width = head
    origin = tl.full((), 0, tl.int64)
    near = tile * BLOCK_M
    label = tl.arange(0, BLOCK_M)
    column = (column_tile * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    row = tl.arange(0, BLOCK_K)[:, None]
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in tl.range(split * BLOCK_K, batch, splits * BLOCK_K, num_stages=STAGES):
        place = origin + start
        pushes = tl.load(
            push + (place * width + near) + (row * width + label[None, :]),
            mask=(row < batch - start) & (label[None, :] < width - near),
            other=0.0,
        )
        features = tl.load(
            clean + place * hidden + (row * hidden + column),
            mask=(row < batch - start) & (column < hidden),
            other=0.0,
        )
        total = dot(tl.trans(pushes), features, total, UPCAST)
    above = (first + near).to(tl.int64)
    out = grad_weight + (split * num_labels.to(tl.int64) + above) * hidden
    inside = (label[:, None] < num_labels - above) & (column < hidden)
    value = (total * factor).to(grad_weight.dtype.element_ty)
    tl.store(out + (label[:, None] * hidden + column), value, mask=inside)


@triton.jit
def _sum_bias(
    head, grad_bias, factor, tile, split, splits,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The sum of push over this split's rows, for this tile of labels."""
    push, _, _, batch, num_labels, _, first, width = head
    near = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    total = tl.zeros([BLOCK_K, BLOCK_M], tl.float32)
    for start in tl.range(split * BLOCK_K, batch, splits * BLOCK_K, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_K).to(tl.int64)
        pushes = tl.load(
            push + rows[:, None] * width + near[None, :],
            mask=(rows < batch)[:, None] & (near < width)[None, :],
            other=0.0,
        )
        total += pushes.to(tl.float32)
    label = first + near
    value = (tl.sum(total, 0) * factor).to(grad_bias.dtype.element_ty)
    tl.store(grad_bias + split * num_labels + label, value, mask=label < num_labels)
