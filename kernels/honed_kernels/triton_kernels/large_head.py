"""The head with 10^4 to 10^6 labels: one scan over the weights, no logit is ever stored.

Labels are cut into splits by their number alone. Each program goes through one split for a tile of
rows and keeps running sums (Milakov and Gimelshein, arXiv 1805.02867; here the sum for the entropy
too) and the best labels; a second launch combines the splits in their order.

A dtype has one tile, whatever the number of rows: matrix instructions of another height may sum in
another order, and a row's bits must not depend on its batch. 64 rows are what Hopper's take
(wgmma), so large batches are bound by arithmetic; a lone row wastes 63 of 64 products, but at 2 *
64 operations to two bytes of weight it waits for memory all the same. float32 with all its bits has
no matrix instructions on NVIDIA, so its tile is lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from honed_kernels import status as bits
from honed_kernels.aot.variant import Variant
from honed_kernels.backend import interpreted
from honed_kernels.triton_kernels.widen import dot

NOT_FINITE = tl.constexpr(bits.NOT_FINITE)
LN2, LOG2E = tl.constexpr(0.6931471805599453), 1.4426950408889634
WARPS, STAGES = 8, 3  # of both kernels
# int32: below the rank of every number, and above.
LOWEST, HIGHEST = tl.constexpr(-(2**31)), tl.constexpr(2**31 - 1)


@triton.jit
def _rank(number):
    """int32 in the order of float32 numbers; -0 would come before 0."""
    pattern = number.to(tl.int32, bitcast=True)
    return pattern ^ ((pattern >> 31) & HIGHEST)


@triton.jit
def _number(rank):
    """The float32 of a rank."""
    return (rank ^ ((rank >> 31) & HIGHEST)).to(tl.float32, bitcast=True)


@triton.jit
def _logits(
    x, weight, first, start, rows, labels, hidden,
    ROWS: tl.constexpr, LABELS: tl.constexpr, DEPTH: tl.constexpr,
    EVEN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Multiply the rows from `first` with the weights of the labels from `start`.

    Past the end it repeats the last label, which needs no mask.
    """
    row, column = tl.arange(0, ROWS), tl.arange(0, DEPTH)
    label = tl.minimum(tl.arange(0, LABELS), labels - 1 - start)
    x += tl.cast(first, tl.int64) * hidden + row[:, None] * hidden + column[None, :]
    weight += tl.cast(start, tl.int64) * hidden + label[None, :] * hidden + column[:, None]
    total = tl.zeros([ROWS, LABELS], tl.float32)
    for done in range(0, hidden, DEPTH):
        inside = (done + column < hidden) | EVEN  # EVEN leaves the weights without a mask
        here = (first + row < rows)[:, None] & inside[None, :]
        a = tl.load(x + done, mask=here, other=0.0)
        b = tl.load(weight + done, mask=inside[:, None], other=0.0)
        total = dot(a, b, total, UPCAST)
    return total


@triton.jit
def _fold(logit, top, peak, total, tilt, scale):
    """Add to total = sum(2^gap) and tilt = sum(2^gap * gap), where gap = (logit - peak) * scale."""
    higher = tl.maximum(peak, top)
    anchor = tl.where(higher == float("-inf"), 0.0, higher)
    back = (peak - anchor) * scale
    shrink = tl.exp2(back)
    gap = (logit - anchor[:, None]) * scale
    power = tl.exp2(gap)
    # Where the power is 0 the gap may be minus infinity.
    tilt = shrink * (tilt + tl.where(shrink > 0, back, 0.0) * total)
    tilt += tl.sum(power * tl.where(power > 0, gap, 0.0), 1)
    return higher, shrink * total + tl.sum(power, 1), tilt


@triton.jit
def _keep(kept, rank, top, start):
    """Put labels that outrank a row's last kept one in its place, the best of them first.

    Labels come in rising order, so an equal one never displaces. Few tiles enter the loop.
    """
    column = tl.arange(0, rank.shape[1])[None, :]
    lead = _rank(top)
    while tl.max((lead > (tl.min(kept, 1) >> 32).to(tl.int32)).to(tl.int32), 0) > 0:
        place = tl.min(tl.where(rank == lead[:, None], column, rank.shape[1]), 1)
        key = (lead.to(tl.int64) << 32) | ((place + start) ^ HIGHEST).to(tl.int64)
        last = tl.min(kept, 1)
        better = lead > (last >> 32).to(tl.int32)
        kept = tl.where((kept == last[:, None]) & better[:, None], key[:, None], kept)
        rank = tl.where(column == place[:, None], LOWEST, rank)
        lead = tl.max(rank, 1)
    return kept


@triton.jit(do_not_specialize=["rows", "labels", "biases", "span"])
def scan_kernel(
    x, weight, bias, sums, best, scale, rows, labels, biases, span, hidden,
    ROWS: tl.constexpr, LABELS: tl.constexpr, DEPTH: tl.constexpr, KEPT: tl.constexpr,
    EVEN: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program goes through `span` labels for ROWS rows.

    Grid (tiles of rows, splits): neighbours read the same weights. x [rows, hidden], weight
    [labels, hidden], bias [biases], which is all labels or 0 of them; sums [3, splits, rows]: the
    largest logit, then as in `_fold`; best [splits, rows, KEPT]: keys in no order, the rank of the
    logit above the inverted label. `scale` is log2(e) / temperature.
    """
    first = tl.program_id(0) * ROWS
    row = first + tl.arange(0, ROWS)
    begin = tl.program_id(1) * span
    place = tl.arange(0, KEPT)
    # An empty place loses against any label; those of rows past the end win.
    empty = tl.where(row < rows, LOWEST, HIGHEST).to(tl.int64)
    kept = (empty << 32)[:, None] + place[None, :]
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    tilt = tl.zeros([ROWS], tl.float32)
    for start in range(begin, tl.minimum(begin + span, labels), LABELS):
        logit = _logits(
            x, weight, first, start, rows, labels, hidden, ROWS, LABELS, DEPTH, EVEN, UPCAST
        )
        # What is past the end becomes a label switched off: of equal ones it comes last.
        label = start + tl.arange(0, LABELS)
        offset = tl.load(bias + label, mask=label < biases, other=0.0)
        offset = tl.where(offset == 0, 0.0, offset)  # no -0, and with 0 no sum is -0
        logit += tl.where(label < labels, offset, float("-inf"))[None, :]
        top = tl.max(logit, 1)
        peak, total, tilt = _fold(logit, top, peak, total, tilt, scale)
        kept = _keep(kept, _rank(logit), top, start)

    here = row < rows
    at = tl.program_id(1).to(tl.int64) * rows + row
    plane = tl.num_programs(1).to(tl.int64) * rows
    tl.store(sums + at, peak, mask=here)
    tl.store(sums + plane + at, total, mask=here)
    tl.store(sums + 2 * plane + at, tilt, mask=here)
    tl.store(best + at[:, None] * KEPT + place[None, :], kept, mask=here[:, None])


@triton.jit(do_not_specialize=["rows", "splits", "top_k"])
def combine_kernel(
    sums, best, ids, probabilities, margin, entropy, energy, lse, status,
    scale, temperature, rows, splits, top_k,
    SPLITS: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """One program combines the splits of one row.

    Grid (rows,). sums and best as in `scan_kernel`; ids and probabilities [rows, top_k], all else
    [rows].
    """
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    here = split < splits
    at = split.to(tl.int64) * rows + row
    plane = splits * rows.to(tl.int64)
    peak = tl.load(sums + at, mask=here, other=float("-inf"))
    total = tl.load(sums + plane + at, mask=here, other=0.0)
    tilt = tl.load(sums + 2 * plane + at, mask=here, other=0.0)
    top = tl.max(peak, 0)
    back = (peak - top) * scale
    shrink = tl.exp2(back)
    tilt = tl.sum(shrink * (tilt + tl.where(shrink > 0, back, 0.0) * total), 0)
    total = tl.sum(shrink * total, 0)
    broken = (tl.abs(top) == float("inf")) | (total != total)
    log = LN2 * tl.log2(total)
    spread = tl.maximum(log - LN2 * tilt / total, 0.0)
    tl.store(entropy + row, tl.where(broken, float("nan"), spread))
    tl.store(energy + row, tl.where(broken, float("nan"), -(top + temperature * log)))
    tl.store(lse + row, tl.where(broken, float("nan"), top / temperature + log))
    tl.store(status + row, tl.where(broken, NOT_FINITE, 0))

    place = tl.arange(0, KEPT)
    keys = tl.load(best + at[:, None] * KEPT + place[None, :], mask=here[:, None], other=-(2**63))
    lead = 0.0
    for k in range(tl.maximum(top_k, 2)):
        key = tl.max(keys)
        keys = tl.where(keys == key, -(2**63), keys)
        power = tl.exp2((_number((key >> 32).to(tl.int32)) - top) * scale)
        probability = tl.where(broken, float("nan"), power / total)
        label = key.to(tl.int32) ^ HIGHEST
        tl.store(ids + row * top_k + k, tl.where(broken, k, label), mask=k < top_k)
        tl.store(probabilities + row * top_k + k, probability, mask=k < top_k)
        lead = tl.where(k == 0, probability, tl.where(k == 1, lead - probability, lead))
    tl.store(margin + row, lead)


@dataclass(frozen=True, slots=True)
class Tile:
    """What one program of the scan works on at once.

    Attributes:
        rows: at least 16, as the others: what a tensor core takes.
        labels: a power of two.
        depth: columns of x and weight in one step.
        splits: most parts that labels are cut into, a power of two: several for each multiprocessor
            of the largest GPU, so that few wait for the last; one program can still combine them.
    """

    rows: int
    labels: int
    depth: int
    splits: int = 512


def tile_of(dtype: torch.dtype) -> Tile:
    """The tile for weights of a dtype; the module's docstring says why it knows nothing else."""
    return Tile(32, 64, 32) if dtype == torch.float32 else Tile(64, 128, 64)


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: float,
    outputs: tuple[Tensor, ...],
    *,
    tile: Tile | None = None,
) -> None:
    """Fill `outputs`, contiguous and in the order of `ops.large_head.LargeScores`.

    The others as in `ops.large_head`, with `x` contiguous and of the dtype of `weight`; `tile` is
    for tests.
    """
    (rows, hidden), labels, top_k = x.shape, len(weight), outputs[0].shape[1]
    if not rows:
        return
    tile = tile or tile_of(weight.dtype)
    span = tile.labels * triton.cdiv(triton.cdiv(labels, tile.labels), tile.splits)
    splits = triton.cdiv(labels, span)
    scale = LOG2E / temperature
    # Three sizes, to compile no more; a margin needs two places.
    kept = 2 if top_k <= 2 else 8 if top_k <= 8 else 16
    sums = x.new_empty(3, splits, rows, dtype=torch.float32)
    best = x.new_empty(splits, rows, kept, dtype=torch.int64)
    offsets, biases = (sums, 0) if bias is None else (bias, labels)
    scan_kernel[(triton.cdiv(rows, tile.rows), splits)](
        x, weight, offsets, sums, best, scale, rows, labels, biases, span, hidden,
        **_form(tile, kept, hidden), UPCAST=interpreted(), num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    combine_kernel[(rows,)](
        sums, best, *outputs, scale, temperature, rows, splits, top_k,
        SPLITS=tile.splits, KEPT=kept, num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip


def _form(tile: Tile, kept: int, hidden: int) -> dict[str, Any]:
    sizes = {"ROWS": tile.rows, "LABELS": tile.labels, "DEPTH": tile.depth}
    return {**sizes, "KEPT": kept, "EVEN": hidden % tile.depth == 0}


def variants() -> tuple[Variant, ...]:
    """All forms for a hidden size that is a multiple of the tile's depth, as encoders have."""
    dtypes = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    sizes = (2, 8, 16)
    scans = [_scan_variant(name, tile_of(dtypes[name]), kept) for name in dtypes for kept in sizes]
    return (*scans, *[_combine_variant(kept) for kept in sizes])


def _scan_variant(dtype: str, tile: Tile, kept: int) -> Variant:
    form = {**_form(tile, kept, tile.depth), "UPCAST": False}
    types = {
        **dict.fromkeys(("x", "weight"), f"*{dtype}"),
        **dict.fromkeys(("bias", "sums"), "*fp32"),
        "best": "*i64",
        "scale": "fp32",
        **dict.fromkeys(("rows", "labels", "biases", "span", "hidden"), "i32"),
        **dict.fromkeys(form, "constexpr"),
    }
    name, aligned = f"large_head/scan/{dtype}-k{kept}", frozenset({"hidden"})
    return Variant(
        name, scan_kernel, types, form, WARPS, STAGES, matrix=dtype != "fp32", divisible=aligned
    )


def _combine_variant(kept: int) -> Variant:
    form = {"SPLITS": tile_of(torch.float16).splits, "KEPT": kept}
    numbers = ("probabilities", "margin", "entropy", "energy", "lse")
    types = {
        "sums": "*fp32",
        "best": "*i64",
        "ids": "*i32",
        **dict.fromkeys(numbers, "*fp32"),
        "status": "*i32",
        **dict.fromkeys(("scale", "temperature"), "fp32"),
        **dict.fromkeys(("rows", "splits", "top_k"), "i32"),
        **dict.fromkeys(form, "constexpr"),
    }
    return Variant(f"large_head/combine/k{kept}", combine_kernel, types, form, WARPS, STAGES)
