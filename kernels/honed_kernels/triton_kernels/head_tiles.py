"""Device functions of kernels whose rows each have a head: who shares a tile, and its product.

There is a program for each row. It counts the rows before it that want the same head: the first of
each sixteen leads a tile of them, the others leave at once. So no sort and no plan on the host are
needed, the grid follows from the number of rows alone, and a head is read once for sixteen rows of
it (1,024 rows of one head) as well as by a program each for 64 rows of 64 heads. No bit of a row
depends on its place in the tile or on who shares it.
"""

import triton
import triton.language as tl

from honed_kernels.triton_kernels.widen import dot

ROWS = tl.constexpr(16)  # of a tile: the least that a tensor core takes
SPAN = tl.constexpr(1024)  # tiles form within so many rows, so that finding them stays cheap
SCAN = tl.constexpr(128)  # head ids looked at at once
BLOCK_K = tl.constexpr(32)  # divides K_ALIGN; with 64 at once registers spill


@triton.jit
def slots(head, pointers, models):
    """The slot of each head; -1 where none is wanted or published."""
    known = (head >= 0) & (head < models)
    return tl.load(pointers + head, mask=known, other=-1).to(tl.int64)


@triton.jit
def rank(head, row, head_id):
    """How many rows of the span before `row` want the same head."""
    before = 0
    for start in range(row // SPAN * SPAN, row, SCAN):
        other = start + tl.arange(0, SCAN)
        same = tl.load(head_id + other, mask=other < row, other=-1) == head
        before += tl.sum(same.to(tl.int32), 0)
    return before


@triton.jit
def rows_of(head, row, head_id, rows):
    """The first ROWS rows from `row` on that want the same head, and which of them exist."""
    place = tl.arange(0, ROWS)
    tile = tl.zeros([ROWS], tl.int32)
    found = 0
    for start in range(row, tl.minimum(row // SPAN * SPAN + SPAN, rows), SCAN):
        other = start + tl.arange(0, SCAN)
        inside = other < tl.minimum(row // SPAN * SPAN + SPAN, rows)
        same = (tl.load(head_id + other, mask=inside, other=-1) == head).to(tl.int32)
        order = found + tl.cumsum(same, 0) - 1
        hit = (same > 0)[None, :] & (order[None, :] == place[:, None])
        tile += tl.sum(tl.where(hit, other[None, :], 0), 1)
        found += tl.sum(same, 0)
    return tile.to(tl.int64), place < found


@triton.jit
def product(x, here, limit, w, named, depth, UPCAST: tl.constexpr):
    """Rows of x by rows of w, in float32, from pointers to both; x is rounded to w's type once."""
    total = tl.zeros([x.shape[0], w.shape[0]], tl.float32)
    for start in range(0, depth, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = here[:, None] & (k < limit)[None, :]
        a = tl.load(x[:, None] + k[None, :], mask=inside, other=0.0)
        b = tl.load(w[None, :] + k[:, None], mask=named[None, :], other=0.0)
        if not UPCAST:
            a = a.to(b.dtype)
        total = dot(a, b, total, UPCAST)
    return total
