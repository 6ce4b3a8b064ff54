"""Device functions of the grouped head: what a tile's logits say, label block by label block.

The best labels are kept as integers that order as (logit, then lower label); the sums of the
softmax are kept relative to the greatest logit so far (Milakov and Gimelshein 2018).
"""

import triton
import triton.language as tl

from honed_kernels import status as bits
from honed_kernels.triton_kernels.head_tiles import ROWS

NOT_FINITE, NO_HEAD = tl.constexpr(bits.NOT_FINITE), tl.constexpr(bits.NO_HEAD)
TOP_K = tl.constexpr(16)
LOWEST = tl.constexpr(-3.4028234663852886e38)
NO_KEY = tl.constexpr(-(2**63))  # below the key of every logit
LAST = tl.constexpr(2**31 - 1)  # label ^ LAST falls as the label rises


@triton.jit
def keys_of(z, label):
    """Integers that order as the logits do, equal logits by falling label."""
    order = (z + 0.0).to(tl.int32, bitcast=True)  # minus zero becomes zero
    order ^= (order >> 31) & 0x7FFFFFFF
    return (order.to(tl.int64) << 32) + (label ^ LAST)[None, :]


@triton.jit
def _decode(keys):
    """The labels and the logits of keys."""
    order = (keys >> 32).to(tl.int32)
    order ^= (order >> 31) & 0x7FFFFFFF
    return (keys & 0xFFFFFFFF).to(tl.int32) ^ LAST, order.to(tl.float32, bitcast=True)


@triton.jit
def merge(best, keys, depth):
    """The `depth` greatest of the keys found so far and of the new ones, in falling order."""
    place = tl.arange(0, TOP_K)
    merged = tl.full([ROWS, TOP_K], NO_KEY, tl.int64)
    for i in range(depth):
        top = tl.maximum(tl.max(best, 1), tl.max(keys, 1))[:, None]
        merged = tl.where(place[None, :] == i, top, merged)
        best = tl.where(best == top, NO_KEY, best)
        keys = tl.where(keys == top, NO_KEY, keys)
    return merged


@triton.jit
def softmax_sums(z, high, before, total, moment, temperature):
    """Sums of exp(d) and of exp(d) * d over the labels so far, d = (logit - greatest) / T."""
    floor = tl.maximum(high, LOWEST)  # -inf where all labels so far are off
    moved = tl.where(before > float("-inf"), before - floor, 0.0) / temperature
    shrink = tl.exp(moved)
    d = (z - floor[:, None]) / temperature
    e = tl.exp(d)
    moment = tl.where(shrink > 0, shrink * (moment + total * moved), 0.0)
    moment += tl.sum(e * tl.where(e > 0, d, 0.0), 1)
    return shrink * total + tl.sum(e, 1), moment


@triton.jit
def sigmoid_sums(z, total, moment, temperature):
    """Sums of softplus(t) and of the entropy of sigmoid(t) over the labels so far, t = logit/T."""
    t = z / temperature
    u = tl.exp(-tl.abs(t))
    surprise = tl.log(1.0 + u)
    total += tl.sum(tl.maximum(t, 0.0) + surprise, 1)
    moment += tl.sum(surprise + tl.where(u > 0, tl.abs(t), 0.0) * u / (1.0 + u), 1)
    return total, moment


@triton.jit
def _probabilities(z, high, total, temperature, sigmoid):
    if sigmoid:
        t = z / temperature
        u = tl.exp(-tl.abs(t))
        p = tl.where(t >= 0, 1.0, u) / (1.0 + u)
    else:
        p = tl.exp((z - tl.maximum(high, LOWEST)[:, None]) / temperature) / total[:, None]
    return p


@triton.jit
def finish(
    out, tile, here, rows, best, high, wrong, total, moment, temperature, sigmoid, num_labels, top_k
):
    """Store what a tile's sums and best keys say."""
    ids, probabilities, measures, status = out
    place = tl.arange(0, TOP_K)
    label, z = _decode(best)
    p = _probabilities(z, high, total, temperature, sigmoid)
    p = tl.where(best == NO_KEY, 0.0, p)
    label = tl.where(best == NO_KEY, -1, label)
    first = tl.sum(tl.where(place[None, :] == 0, p, 0.0), 1)
    second = tl.sum(tl.where(place[None, :] == 1, p, 0.0), 1)
    if sigmoid:
        surprise, free = moment, -temperature * total
    else:
        surprise = tl.log(total) - moment / total
        free = -(high + temperature * tl.log(total))
    nan = float("nan")
    p = tl.where(wrong[:, None] & (place < num_labels)[None, :], nan, p)
    known = tl.where(place < num_labels, place, -1)
    label = tl.where(wrong[:, None], known[None, :], label)
    at, shown = tile[:, None] * top_k + place[None, :], here[:, None] & (place < top_k)[None, :]
    tl.store(ids + at, label, mask=shown)
    tl.store(probabilities + at, p, mask=shown)
    measures += tile
    tl.store(measures, tl.where(wrong, nan, first - second), mask=here)
    tl.store(measures + rows, tl.where(wrong, nan, surprise), mask=here)
    tl.store(measures + 2 * rows, tl.where(wrong, nan, free), mask=here)
    tl.store(status + tile, tl.where(wrong, NOT_FINITE, 0), mask=here)


@triton.jit
def no_head(out, version, row, rows, top_k):
    """Store that nobody answers a row."""
    ids, probabilities, measures, status = out
    place = tl.arange(0, TOP_K)
    at = row.to(tl.int64) * top_k + place
    tl.store(ids + at, -1, mask=place < top_k)
    tl.store(probabilities + at, 0.0, mask=place < top_k)
    tl.store(measures + row + place * rows, 0.0, mask=place < 3)
    tl.store(status + row, NO_HEAD)
    tl.store(version + row, 0)
