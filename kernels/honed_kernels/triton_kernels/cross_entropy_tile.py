"""What the kernels of `linear_cross_entropy` do with a tile of rows and labels, all in registers.

What a row's labels add up to is kept as "stats", four sums (eight with a teacher, see `tile_stats`)
that can be merged over any grouping of labels. Names as in `reference.linear_cross_entropy`; `head`
and `aim` are bundles of arguments, taken apart in `_logits` and `tile_of`.
"""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.widen import dot

OFF = tl.constexpr(float("-inf"))


@triton.jit
def rows_of(tile, batch, num_labels, target, row_weight, ignore_index, BLOCK: tl.constexpr):
    """A tile's rows: their places, their indices (past the last: its), which count, how much.

    A target out of range counts NaN.
    """
    places = tile * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    rows = tl.minimum(places, batch - 1)
    counts, factor = places < batch, tl.full([BLOCK], 1.0, tl.float32)
    if row_weight is not None:
        factor = tl.load(row_weight + rows).to(tl.float32)
        counts = counts & (factor != 0)
    if not target.dtype.element_ty.is_floating():
        label = tl.load(target + rows)
        counts = counts & (label != ignore_index)
        factor = tl.where((label >= 0) & (label < num_labels), factor, float("nan"))
    return places, rows, counts, factor


@triton.jit
def tile_of(
    head,
    aim,
    rows,
    tile,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    STAGES: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Logits, goal, and teacher's logits or the goal again; labels past the last are off."""
    target, class_weight, teacher, num_labels, smoothing = aim
    first = tile * BLOCK_C
    near = tl.minimum(tl.arange(0, BLOCK_C), num_labels - 1 - first)
    logits = _logits(head, rows, first, near, BLOCK_H, STAGES, EVEN, UPCAST)
    labels, known = first + tl.arange(0, BLOCK_C), first + near
    real = labels < num_labels
    # What is the same for all rows is made of one row: registers are scarce.
    offset = tl.where(real, 0.0, OFF)
    if head[2] is not None:
        offset += tl.load(head[2] + known).to(tl.float32)
    logits += offset[None, :]
    price = tl.where(real, 1.0, 0.0)
    if class_weight is not None:
        price *= tl.load(class_weight + known).to(tl.float32)
    at = rows[:, None] * num_labels + known[None, :]
    if target.dtype.element_ty.is_floating():
        goal = tl.load(target + at).to(tl.float32) * ((1 - smoothing) * price)[None, :]
        goal += (price * (smoothing / num_labels))[None, :]
    else:
        label = tl.load(target + rows).to(tl.int32)
        spread = price * (smoothing / num_labels)
        hit = spread + price * (1 - smoothing)
        goal = tl.where(labels[None, :] == label[:, None], hit[None, :], spread[None, :])
    taught = goal
    if teacher is not None:
        taught = tl.where(real[None, :], tl.load(teacher + at).to(tl.float32), OFF)
    return logits, goal, taught


@triton.jit
def _logits(
    head, rows, first, near, BLOCK_H: tl.constexpr, STAGES: tl.constexpr, EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    x, weight, _, hidden, x_stride = head
    logits = tl.zeros([rows.shape[0], near.shape[0]], tl.float32)
    x_at = x + rows[:, None] * x_stride
    # Long numbers are of the tile, so that what each thread holds is short.
    weight_at = weight + (tl.full((), 0, tl.int64) + first) * hidden + near[:, None] * hidden
    for start in tl.range(0, hidden, BLOCK_H, num_stages=STAGES, disable_licm=True):
        column = start + tl.arange(0, BLOCK_H)[None, :]
        features = _load_columns(x_at + column, column < hidden, EVEN)
        weights = _load_columns(weight_at + column, column < hidden, EVEN)
        logits = dot(features, tl.trans(weights), logits, UPCAST)
    return logits


@triton.jit
def _load_columns(at, inside, EVEN: tl.constexpr):
    """What `at` points to, 0 past the last column; none is past it if EVEN."""
    if EVEN:
        return tl.load(at)
    else:
        return tl.load(at, mask=tl.broadcast_to(inside, at.shape), other=0.0)


@triton.jit
def _anchor(peak):
    """What logits are counted from: the highest, or any finite number if all are off."""
    return tl.where(peak == OFF, 0.0, peak)


@triton.jit
def no_stats(BLOCK: tl.constexpr, TAUGHT: tl.constexpr):
    """The stats of no labels."""
    zero = tl.zeros([BLOCK], tl.float32)
    off = zero + OFF
    if TAUGHT:
        return off, zero, zero, zero, zero, off, zero, zero
    else:
        return off, zero, zero, zero


@triton.jit
def tile_stats(logits, goal, taught, temperature, TAUGHT: tl.constexpr):
    """The highest logit; the sums of exp, of the goal and of goal * logit.

    With a teacher, all at `temperature`: also the student's sum of exp; the teacher's highest logit
    and sum of exp; and the sum of the teacher's exp * (its logit - the student's). In sums, a logit
    counts from the highest of its own.
    """
    peak = tl.max(logits, 1)
    low = logits - _anchor(peak)[:, None]
    # Tied to the logits: else the compiler makes the goal twice, in another layout for its sum.
    mass = tl.sum(tl.where(low == low, goal, 0.0), 1)
    total = tl.sum(tl.exp(low), 1)
    pull = tl.sum(tl.where(goal != 0, goal * low, 0.0), 1)
    if TAUGHT:
        highest = tl.max(taught, 1)
        taught_low = taught - _anchor(highest)[:, None]
        cool = 1 / temperature
        share = tl.exp(taught_low * cool)
        gap = tl.sum(tl.where(share != 0, share * (taught_low - low), 0.0), 1)
        soft = tl.sum(tl.exp(low * cool), 1)
        return peak, total, mass, pull, soft, highest, tl.sum(share, 1), gap
    else:
        return peak, total, mass, pull


@triton.jit
def merge(a, b, temperature, TAUGHT: tl.constexpr):
    """The stats of the labels of both."""
    peak = tl.maximum(a[0], b[0])
    anchor = _anchor(peak)
    fall_a, fall_b = _anchor(a[0]) - anchor, _anchor(b[0]) - anchor
    total = a[1] * tl.exp(a[0] - anchor) + b[1] * tl.exp(b[0] - anchor)
    pull = a[3] + a[2] * fall_a + (b[3] + b[2] * fall_b)
    if TAUGHT:
        soft_a = a[4] * tl.exp((a[0] - anchor) / temperature)
        soft_b = b[4] * tl.exp((b[0] - anchor) / temperature)
        highest = tl.maximum(a[5], b[5])
        above = _anchor(highest)
        keep_a, keep_b = tl.exp((a[5] - above) / temperature), tl.exp((b[5] - above) / temperature)
        gap_a = a[7] + a[6] * (_anchor(a[5]) - above - fall_a)
        gap_b = b[7] + b[6] * (_anchor(b[5]) - above - fall_b)
        share, gap = a[6] * keep_a + b[6] * keep_b, gap_a * keep_a + gap_b * keep_b
        return peak, total, a[2] + b[2], pull, soft_a + soft_b, highest, share, gap
    else:
        return peak, total, a[2] + b[2], pull


@triton.jit
def load_stats(at, inside, batch, TAUGHT: tl.constexpr):
    """Those that `at` points to; elsewhere than `inside`, those of no labels."""
    first = (
        tl.load(at, mask=inside, other=OFF),
        tl.load(at + batch, mask=inside, other=0.0),
        tl.load(at + 2 * batch, mask=inside, other=0.0),
        tl.load(at + 3 * batch, mask=inside, other=0.0),
    )
    if TAUGHT:
        soft = tl.load(at + 4 * batch, mask=inside, other=0.0)
        highest = tl.load(at + 5 * batch, mask=inside, other=OFF)
        share = tl.load(at + 6 * batch, mask=inside, other=0.0)
        gap = tl.load(at + 7 * batch, mask=inside, other=0.0)
        return first[0], first[1], first[2], first[3], soft, highest, share, gap
    else:
        return first


@triton.jit
def store_stats(at, places, batch, stats, TAUGHT: tl.constexpr):
    """The inverse of `load_stats`, for one group of labels."""
    for index in tl.static_range(8 if TAUGHT else 4):
        tl.store(at + index * batch + places, stats[index], mask=places < batch)


@triton.jit
def loss_of(stats, distillation, temperature, TAUGHT: tl.constexpr):
    """The loss of each row; NaN where every label is off."""
    loss = stats[2] * tl.log(stats[1]) - stats[3]
    if TAUGHT:
        apart = stats[7] / (stats[6] * temperature) + tl.log(stats[4]) - tl.log(stats[6])
        loss += distillation * temperature * temperature * apart
    return tl.where(stats[1] == 0, float("nan"), loss)


@triton.jit
def push_of(logits, goal, taught, stats, distillation, temperature, TAUGHT: tl.constexpr):
    """The gradient of each row's loss with respect to its logits."""
    low = logits - _anchor(stats[0])[:, None]
    push = tl.exp(low) * (stats[2] / stats[1])[:, None] - goal
    if TAUGHT:
        cool, strength = 1 / temperature, distillation * temperature
        taught_low = taught - _anchor(stats[5])[:, None]
        push += tl.exp(low * cool) * (strength / stats[4])[:, None]
        push -= tl.exp(taught_low * cool) * (strength / stats[6])[:, None]
    return push
