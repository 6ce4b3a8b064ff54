"""How far a row lies from all classes, in one launch: three linear maps and their epilogues.

A row is multiplied with the whitening of the classes, that of the background and a discriminant
for each class. All that is kept of the products are two sums of squares and a maximum a row, in
registers: neither the whitened row nor a class's distance is ever stored. Whitenings are lower
triangular, so half of their columns are never read.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from honed_kernels import status as bits
from honed_kernels.aot.variant import Variant

NOT_FINITE = tl.constexpr(bits.NOT_FINITE)

_ROWS = 16
_LINES = 64
_DEPTH = 32


@triton.jit
def _lines(
    x, centre, matrix, offset, row, line, rows, lines, hidden, end, stride, DEPTH: tl.constexpr
):
    """(x - centre) @ matrix.T + offset over the columns before `end`; 0 past the last line."""
    depth = tl.arange(0, DEPTH)
    x += row.to(tl.int64)[:, None] * stride + depth[None, :]
    matrix += line.to(tl.int64)[None, :] * hidden + depth[:, None]
    total = tl.zeros([row.shape[0], line.shape[0]], tl.float32)
    for start in range(0, end, DEPTH):
        inside = start + depth < hidden
        a = tl.load(x + start, mask=(row < rows)[:, None] & inside[None, :], other=0.0)
        a -= tl.load(centre + start + depth, mask=inside, other=0.0)[None, :]
        b = tl.load(matrix + start, mask=inside[:, None] & (line < lines)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    return total + tl.load(offset + line, mask=line < lines, other=0.0)[None, :]


@triton.jit(do_not_specialize=["rows", "labels"])
def scores_kernel(
    x, centre, matrix, offset, relative, distance, status, rows, labels, hidden, stride,
    ROWS: tl.constexpr, LINES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One program scores ROWS rows.

    Grid (tiles of rows,). x [rows, hidden] with `stride` from row to row, centre [hidden], matrix
    [hidden + hidden + labels, hidden] and offset as long: whitenings of the classes and of the
    background, discriminants of the classes; relative, distance and status [rows].
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    square = tl.cast(hidden, tl.int64) * hidden
    near = tl.zeros([ROWS], tl.float32)
    far = tl.zeros([ROWS], tl.float32)
    for start in range(0, hidden, LINES):
        line = start + tl.arange(0, LINES)
        end = tl.minimum(start + LINES, hidden)
        white = _lines(
            x, centre, matrix, offset, row, line, rows, hidden, hidden, end, stride, DEPTH
        )
        near += tl.sum(white * white, 1)
        white = _lines(
            x, centre, matrix + square, offset + hidden,
            row, line, rows, hidden, hidden, end, stride, DEPTH,
        )  # fmt: skip
        far += tl.sum(white * white, 1)

    best = tl.full([ROWS], float("-inf"), tl.float32)
    wrong = tl.zeros([ROWS], tl.int32)
    for start in range(0, labels, LINES):
        line = start + tl.arange(0, LINES)
        logit = _lines(
            x, centre, matrix + 2 * square, offset + 2 * hidden,
            row, line, rows, labels, hidden, hidden, stride, DEPTH,
        )  # fmt: skip
        # The larger of a NaN and a number is the number here.
        wrong |= tl.max((logit != logit).to(tl.int32), 1)
        logit = tl.where((line < labels)[None, :], logit, float("-inf"))
        best = tl.maximum(best, tl.max(logit, 1))

    closest = tl.maximum(near - 2 * best, 0.0)
    score = closest - far
    broken = (wrong > 0) | (near != near) | ~(tl.abs(best) < float("inf"))
    broken |= ~(tl.abs(score) < float("inf"))
    here = row < rows
    tl.store(relative + row, tl.where(broken, float("nan"), score), mask=here)
    tl.store(distance + row, tl.where(broken, float("nan"), closest), mask=here)
    tl.store(status + row, tl.where(broken, NOT_FINITE, 0), mask=here)


_FORM = {"ROWS": _ROWS, "LINES": _LINES, "DEPTH": _DEPTH}


def launch(
    x: Tensor,
    centre: Tensor,
    matrix: Tensor,
    offset: Tensor,
    relative: Tensor,
    distance: Tensor,
    status: Tensor,
) -> None:
    """Fill the last three, contiguous; the others as `ops.lda_scores.Gaussians`, taken as valid."""
    rows, hidden = x.shape
    if rows:
        scores_kernel[(triton.cdiv(rows, _ROWS),)](
            x, centre, matrix, offset, relative, distance, status,
            rows, len(matrix) - 2 * hidden, hidden, x.stride(0),
            **_FORM, num_warps=4, num_stages=3,
        )  # fmt: skip


def variants() -> tuple[Variant, ...]:
    """The one form for a hidden size and stride that are multiples of 16, as encoders have."""
    types = {
        **dict.fromkeys(("x", "centre", "matrix", "offset", "relative", "distance"), "*fp32"),
        "status": "*i32",
        **dict.fromkeys(("rows", "labels", "hidden", "stride"), "i32"),
        **dict.fromkeys(_FORM, "constexpr"),
    }
    sizes = frozenset({"hidden", "stride"})
    return (Variant("lda_scores", scores_kernel, types, _FORM, 4, 3, divisible=sizes),)
