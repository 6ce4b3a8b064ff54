"""How far a row lies from all classes: three linear maps, and what their epilogues keep.

A row is multiplied with the whitening of the classes, that of the background and a discriminant
for each class. A program does so for some rows and some lines of one of them, and keeps a sum of
squares or a maximum for each row; a second launch adds those up in their order. Neither the
whitened row nor a class's distance is ever stored. Whitenings are lower triangular, so half of
their columns are never read.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from honed_kernels import status as bits
from honed_kernels.aot.variant import Variant

NOT_FINITE = tl.constexpr(bits.NOT_FINITE)

# Without tensor cores both tiles of a step stand in registers: a deeper one would spill.
_LINES = {"ROWS": 32, "LINES": 64, "DEPTH": 16}
_SCORES = {"ROWS": 32, "BLOCKS": 32}


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
def lines_kernel(
    x, centre, matrix, offset, parts, rows, labels, hidden, stride,
    ROWS: tl.constexpr, LINES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One program multiplies ROWS rows with LINES lines of one map.

    Grid (tiles of rows, blocks of lines of the three maps), the longest lines first. x [rows,
    hidden] with `stride` from row to row, centre [hidden], matrix [hidden + hidden + labels,
    hidden] and offset as long: whitenings of the classes and of the background, discriminants of
    the classes; parts [blocks, rows]: sums of squares, of discriminants the greatest.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    block = tl.num_programs(1) - 1 - tl.program_id(1)
    each = tl.cdiv(hidden, LINES)
    which = tl.minimum(block // each, 2)
    start = (block - which * each) * LINES
    line = start + tl.arange(0, LINES)
    lines = tl.where(which < 2, hidden, labels)
    end = tl.where(which < 2, tl.minimum(start + LINES, hidden), hidden)
    matrix += tl.cast(which, tl.int64) * hidden * hidden
    offset += which * hidden
    found = _lines(x, centre, matrix, offset, row, line, rows, lines, hidden, end, stride, DEPTH)
    if which < 2:
        part = tl.sum(found * found, 1)
    else:
        # The larger of a NaN and a number is the number here.
        wrong = tl.max((found != found).to(tl.int32), 1)
        part = tl.max(tl.where((line < lines)[None, :], found, float("-inf")), 1)
        part = tl.where(wrong > 0, float("nan"), part)
    tl.store(parts + block.to(tl.int64) * rows + row, part, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "blocks", "each"])
def scores_kernel(
    parts, relative, distance, status, rows, blocks, each,
    ROWS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """One program combines the parts of ROWS rows, of which the first two maps have `each`.

    Grid (tiles of rows,). parts as in `lines_kernel`; relative, distance and status [rows].
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < rows
    near = tl.zeros([ROWS], tl.float32)
    far = tl.zeros([ROWS], tl.float32)
    best = tl.full([ROWS], float("-inf"), tl.float32)
    wrong = tl.zeros([ROWS], tl.int32)
    for start in range(0, blocks, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        at = parts + block.to(tl.int64)[None, :] * rows + row[:, None]
        part = tl.load(at, mask=here[:, None] & (block < blocks)[None, :], other=0.0)
        near += tl.sum(tl.where((block < each)[None, :], part, 0.0), 1)
        squares = (block >= each) & (block < 2 * each)
        far += tl.sum(tl.where(squares[None, :], part, 0.0), 1)
        wrong |= tl.max((part != part).to(tl.int32), 1)
        logits = (block >= 2 * each) & (block < blocks)
        part = tl.where(logits[None, :] & (part == part), part, float("-inf"))
        best = tl.maximum(best, tl.max(part, 1))

    closest = tl.maximum(near - 2 * best, 0.0)
    score = closest - far
    broken = (wrong > 0) | ~(tl.abs(best) < float("inf")) | ~(tl.abs(score) < float("inf"))
    tl.store(relative + row, tl.where(broken, float("nan"), score), mask=here)
    tl.store(distance + row, tl.where(broken, float("nan"), closest), mask=here)
    tl.store(status + row, tl.where(broken, NOT_FINITE, 0), mask=here)


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
    if not rows:
        return
    labels, each = len(matrix) - 2 * hidden, triton.cdiv(hidden, _LINES["LINES"])
    blocks = 2 * each + triton.cdiv(labels, _LINES["LINES"])
    parts = x.new_empty(blocks, rows)
    lines_kernel[(triton.cdiv(rows, _LINES["ROWS"]), blocks)](
        x, centre, matrix, offset, parts, rows, labels, hidden, x.stride(0),
        **_LINES, num_warps=4, num_stages=3,
    )  # fmt: skip
    scores_kernel[(triton.cdiv(rows, _SCORES["ROWS"]),)](
        parts, relative, distance, status, rows, blocks, each, **_SCORES, num_warps=4
    )


def variants() -> tuple[Variant, ...]:
    """The one form for a hidden size and stride that are multiples of 16, as encoders have."""
    lines = {
        **dict.fromkeys(("x", "centre", "matrix", "offset", "parts"), "*fp32"),
        **dict.fromkeys(("rows", "labels", "hidden", "stride"), "i32"),
        **dict.fromkeys(_LINES, "constexpr"),
    }
    scores = {
        **dict.fromkeys(("parts", "relative", "distance"), "*fp32"),
        "status": "*i32",
        **dict.fromkeys(("rows", "blocks", "each"), "i32"),
        **dict.fromkeys(_SCORES, "constexpr"),
    }
    sizes = frozenset({"hidden", "stride"})
    return (
        Variant("lda_scores/lines", lines_kernel, lines, _LINES, 4, 3, divisible=sizes),
        Variant("lda_scores/scores", scores_kernel, scores, _SCORES, 4, 3),
    )
