"""Rows added to the sums that closed-form heads are solved from, in float64 and one launch.

Each program owns a tile of one sum and adds all rows to it in their order, so nothing is added by
two programs and no atomics are needed. The gram matrix is symmetric: a program computes a tile of
its upper half and adds it to its mirror image too. float32 features are exact in float64.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from honed_kernels.aot.variant import Variant

# A program's tile. With 64 lines Triton 3.6.0 tries float64 on Blackwell's tensor cores, which have
# none, and does not compile; and MiniLM's 384 features make too few such tiles to busy a GPU.
_TILE = 32
_DEPTH = 16


@triton.jit
def _dot(a, b, total):
    """Add a.T @ b in float64. Without "ieee" AMD's compiler tries a narrower format, and fails."""
    return tl.dot(tl.trans(a), b, total, input_precision="ieee", out_dtype=tl.float64)


@triton.jit
def _add(matrix, line, column, lines, columns, delta):
    """Add to a tile of a matrix [lines, columns]."""
    at = matrix + line.to(tl.int64)[:, None] * columns + column[None, :]
    here = (line < lines)[:, None] & (column < columns)[None, :]
    tl.store(at, tl.load(at, mask=here, other=0.0) + delta, mask=here)


@triton.jit
def _weights(weights, row, rows):
    """What a row counts; one that counts nothing is not read."""
    weight = (row < rows).to(tl.float64)
    if weights is not None:
        weight = tl.load(weights + row, mask=row < rows, other=0.0)
    return weight


@triton.jit
def _features(features, row, column, used, width, stride):
    at = features + row.to(tl.int64)[:, None] * stride + column[None, :]
    return tl.load(at, mask=used[:, None] & (column < width)[None, :], other=0.0).to(tl.float64)


@triton.jit
def _shares(targets, row, label, used, labels, SOFT: tl.constexpr):
    """What each row says of each label: float64 [rows, labels of the tile]."""
    if SOFT:
        at = targets + row.to(tl.int64)[:, None] * labels + label[None, :]
        here = used[:, None] & (label < labels)[None, :]
        return tl.load(at, mask=here, other=0.0).to(tl.float64)
    else:
        target = tl.load(targets + row, mask=used, other=-1)
        return (target[:, None] == label[None, :]).to(tl.float64)


@triton.jit
def _add_to_gram(
    gram, features, weights, left, right, rows, width, stride,
    TILE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    line = left * TILE + tl.arange(0, TILE)
    column = right * TILE + tl.arange(0, TILE)
    total = tl.zeros([TILE, TILE], tl.float64)
    for start in range(0, rows, DEPTH):
        row = start + tl.arange(0, DEPTH)
        weight = _weights(weights, row, rows)
        a = _features(features, row, line, weight != 0, width, stride)
        b = _features(features, row, column, weight != 0, width, stride) * weight[:, None]
        total = _dot(a, b, total)
    _add(gram, line, column, width, width, total)
    if left != right:
        _add(gram, column, line, width, width, tl.trans(total))


@triton.jit
def _add_to_cross(
    cross, counts, features, targets, weights, left, right, rows, width, labels, stride,
    TILE: tl.constexpr, DEPTH: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    line = left * TILE + tl.arange(0, TILE)
    label = right * TILE + tl.arange(0, TILE)
    total = tl.zeros([TILE, TILE], tl.float64)
    number = tl.zeros([TILE], tl.float64)
    mass = tl.zeros([TILE], tl.float64)
    squares = tl.zeros([TILE], tl.float64)
    for start in range(0, rows, DEPTH):
        row = start + tl.arange(0, DEPTH)
        weight = _weights(weights, row, rows)
        a = _features(features, row, line, weight != 0, width, stride)
        evidence = _shares(targets, row, label, weight != 0, labels, SOFT) * weight[:, None]
        total = _dot(a, evidence, total)
        if counts is not None:
            number += tl.sum((evidence > 0).to(tl.float64) - (evidence < 0).to(tl.float64), 0)
            mass += tl.sum(evidence, 0)
            squares += tl.sum(evidence * tl.abs(evidence), 0)
    _add(cross, line, label, width, labels, total)
    if counts is not None:
        mine = (label < labels) & (left == 0)
        for which in tl.static_range(3):
            value = number if which == 0 else mass if which == 1 else squares
            at = counts + which * labels + label
            tl.store(at, tl.load(at, mask=mine, other=0.0) + value, mask=mine)


@triton.jit(
    do_not_specialize=["rows", "labels"], do_not_specialize_on_alignment=["targets", "weights"]
)
def update_kernel(
    gram, cross, counts, features, targets, weights, rows, width, labels, stride,
    TILE: tl.constexpr, DEPTH: tl.constexpr, SOFT: tl.constexpr,
):  # fmt: skip
    """One program adds all rows to a tile of gram and to its mirror image, or to one of cross.

    Grid (tiles of the width, tiles of the width and then of the labels). gram [width, width], cross
    [width, labels], counts [3, labels] or None, features [rows, width] with `stride` from row to
    row, targets [rows, labels] if SOFT, else [rows]; weights [rows] or None.
    """
    left, right = tl.program_id(0), tl.program_id(1)
    tiles = tl.num_programs(0)
    if right >= tiles:
        _add_to_cross(
            cross, counts, features, targets, weights, left, right - tiles, rows, width, labels,
            stride, TILE, DEPTH, SOFT,
        )  # fmt: skip
    elif right >= left:
        _add_to_gram(gram, features, weights, left, right, rows, width, stride, TILE, DEPTH)


def _form(*, soft: bool) -> dict[str, Any]:
    """What is fixed at compile time."""
    return {"TILE": _TILE, "DEPTH": _DEPTH, "SOFT": soft}


def launch(
    gram: Tensor,
    cross: Tensor,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    counts: Tensor | None,
) -> None:
    """Add to `gram`, `cross` and `counts` in place. As `ops.rank_update`, taken as valid."""
    (rows, width), labels = features.shape, cross.shape[1]
    if not rows:
        return
    form = _form(soft=targets.is_floating_point())
    tiles = triton.cdiv(width, _TILE)
    update_kernel[(tiles, tiles + triton.cdiv(labels, _TILE))](
        gram, cross, counts, features, targets, weights, rows, width, labels, features.stride(0),
        **form, num_warps=4, num_stages=2,
    )  # fmt: skip


def variants() -> tuple[Variant, ...]:
    """All forms for widths that are multiples of 16, as encoders and Fourier features have."""
    return tuple(
        _variant(soft=soft, weights=weights, counts=counts)
        for soft in (False, True)
        for weights in (False, True)
        for counts in (False, True)
    )


def _variant(*, soft: bool, weights: bool, counts: bool) -> Variant:
    given = {"weights": weights, "counts": counts}
    absent = {name: None for name, here in given.items() if not here}
    constants = {**absent, **_form(soft=soft)}
    types = {
        "gram": "*fp64",
        "cross": "*fp64",
        "counts": "*fp64",
        "features": "*fp32",
        "targets": "*fp32" if soft else "*i64",
        "weights": "*fp64",
        **dict.fromkeys(("rows", "width", "labels", "stride"), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    extras = "".join(f"-{name}" for name, here in given.items() if here)
    return Variant(
        f"rank_update/{'soft' if soft else 'ids'}{extras}",
        update_kernel,
        types,
        constants,
        num_warps=4,
        num_stages=2,
        divisible=frozenset({"width", "stride"}),
    )
