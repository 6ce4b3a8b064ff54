"""Low-rank adapters over one layer, many of them in a batch: shrink and expand in one launch.

A program takes a tile of tokens and goes through the adapters that occur in it, one after the
other: tokens of a text lie together, so there are one or two. So no token needs sorting, the grid
is fixed by the shapes, and a captured graph takes any mix. With few tokens several programs share
the output columns of a tile, and each computes the narrow product anew: that costs less than a
second launch and its wait.

A token is stored with its own adapter's product only, so a broken adapter touches no other token
and no bit depends on the neighbours.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from honed_kernels.aot.variant import Variant
from honed_kernels.backend import interpreted
from honed_kernels.reference.grouped_lora import RANKS
from honed_kernels.triton_kernels.widen import dot

# The smallest tile of the matrix instructions: the fewer tokens, the fewer adapters among them.
_TOKENS = 16
# As many programs as a large GPU holds at once; more would wait for those, and repeat their work.
_PROGRAMS = 512


@triton.jit
def _shrink(
    x, a, token, here, in_features, stride,
    RANK: tl.constexpr, DEPTH: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The narrow product, x @ a.T: float32 [tokens, RANK]."""
    depth = tl.arange(0, DEPTH)
    x += token[:, None] * stride + depth[None, :]
    a += tl.arange(0, RANK)[None, :] * in_features + depth[:, None]
    low = tl.zeros([token.shape[0], RANK], tl.float32)
    for start in range(0, in_features, DEPTH):
        inside = start + depth < in_features
        left = tl.load(x + start, mask=here[:, None] & inside[None, :], other=0.0)
        right = tl.load(a + start, mask=inside[:, None], other=0.0)
        low = dot(left, right, low, UPCAST)
    return low


@triton.jit
def _expand(
    low, up, source, out, mine, begin, end, out_features, source_stride, out_stride, strength,
    COLUMNS: tl.constexpr, RANK: tl.constexpr, CHUNK: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Store source + strength * (low @ up.T) for some tokens, columns `begin` to `end`."""
    token = tl.arange(0, low.shape[0])
    for start in range(begin, end, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = mine[:, None] & (column < out_features)[None, :]
        total = tl.load(
            source + token[:, None] * source_stride + column[None, :], mask=inside, other=0.0
        )
        at = up + column[None, :] * RANK + tl.arange(0, CHUNK)[:, None]
        wide = tl.load(at, mask=(column < out_features)[None, :], other=0.0)
        high = tl.zeros([low.shape[0], COLUMNS], tl.float32)
        high = dot(low.to(wide.dtype), wide, high, UPCAST)
        total = total.to(tl.float32) + strength * high
        at = out + token[:, None] * out_stride + column[None, :]
        tl.store(at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit(
    do_not_specialize=["tokens", "slots", "blocks"],
    do_not_specialize_on_alignment=["adapter_id"],
)
def lora_kernel(
    x, base, out, adapter_id, a, b, scale, tokens, slots, blocks, in_features, out_features,
    x_stride, base_stride, out_stride,
    TOKENS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, RANK: tl.constexpr,
    CHUNK: tl.constexpr, COPY: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program fills `blocks` times COLUMNS columns of TOKENS tokens.

    Grid (tiles of tokens, parts of the columns). x [tokens, in_features], base and out [tokens,
    out_features] with strides from token to token, adapter_id [tokens], a [slots, RANK,
    in_features], b [slots, out_features, RANK], scale [slots]. CHUNK ranks at a time. Without COPY
    out is base, and tokens without an adapter are there already.
    """
    first = tl.program_id(0) * TOKENS
    token = tl.arange(0, TOKENS)
    here = first + token < tokens
    adapter = tl.load(adapter_id + first + token, mask=here, other=-1)
    adapter = tl.where(adapter < slots, adapter, -1)
    x += first.to(tl.int64) * x_stride
    base += first.to(tl.int64) * base_stride
    out += first.to(tl.int64) * out_stride
    begin = tl.program_id(1) * blocks * COLUMNS
    end = tl.minimum(begin + blocks * COLUMNS, out_features)
    if COPY:
        for start in range(begin, end, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            inside = (here & (adapter < 0))[:, None] & (column < out_features)[None, :]
            same = tl.load(base + token[:, None] * base_stride + column[None, :], mask=inside)
            tl.store(out + token[:, None] * out_stride + column[None, :], same, mask=inside)
    slot = tl.max(adapter, 0)
    while slot >= 0:
        mine = adapter == slot
        strength = tl.load(scale + slot)
        for rank in tl.static_range(0, RANK, CHUNK):
            down = a + (slot.to(tl.int64) * RANK + rank) * in_features
            low = _shrink(x, down, token, mine, in_features, x_stride, CHUNK, DEPTH, UPCAST)
            up = b + slot.to(tl.int64) * out_features * RANK + rank
            # Later chunks, in float32 only, add to what all threads of this program have stored.
            source, stride = (base, base_stride) if rank == 0 else (out, out_stride)
            if rank > 0:
                tl.debug_barrier()
            _expand(
                low, up, source, out, mine, begin, end, out_features, stride, out_stride, strength,
                COLUMNS, RANK, CHUNK, UPCAST,
            )  # fmt: skip
        slot = tl.max(tl.where(adapter < slot, adapter, -1), 0)


def _form(rank: int, *, half: bool) -> dict[str, int]:
    """What is fixed at compile time: by the rank and the dtype alone.

    float32 has no matrix instructions that keep all bits, so there threads hold less at once.
    """
    columns, depth, chunk = (128, 64, rank) if half else (32, 32, 16)
    return {"TOKENS": _TOKENS, "COLUMNS": columns, "DEPTH": depth, "RANK": rank, "CHUNK": chunk}


def launch(
    x: Tensor,
    base_out: Tensor,
    out: Tensor,
    adapter_id: Tensor,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
) -> None:
    """Fill `out`, which may be `base_out`. Arguments as `ops.grouped_lora`, taken as valid."""
    (tokens, in_features), out_features = x.shape, out.shape[1]
    slots, rank = a.shape[:2]
    if not tokens:
        return
    form = _form(rank, half=x.dtype.itemsize == 2)
    tiles = triton.cdiv(tokens, form["TOKENS"])
    blocks = triton.cdiv(out_features, form["COLUMNS"])
    each = min(blocks, triton.cdiv(blocks * tiles, _PROGRAMS))
    lora_kernel[tiles, triton.cdiv(blocks, each)](
        x, base_out, out, adapter_id, a, b, scale, tokens, slots, each, in_features, out_features,
        x.stride(0), base_out.stride(0), out.stride(0),
        **form, COPY=out.data_ptr() != base_out.data_ptr(), UPCAST=interpreted(),
        num_warps=4, num_stages=3,
    )  # fmt: skip


def variants() -> tuple[Variant, ...]:
    """All forms for layers whose sizes and strides are multiples of 16, as encoders have."""
    return tuple(
        _variant(dtype, rank, copy=copy)
        for dtype in ("fp16", "bf16", "fp32")
        for rank in RANKS
        for copy in (False, True)
    )


def _variant(dtype: str, rank: int, *, copy: bool) -> Variant:
    constants = {**_form(rank, half=dtype != "fp32"), "COPY": copy, "UPCAST": False}
    sizes = ("in_features", "out_features", "x_stride", "base_stride", "out_stride")
    types = {
        **dict.fromkeys(("x", "base", "out"), f"*{dtype}"),
        "adapter_id": "*i32",
        **dict.fromkeys(("a", "b"), f"*{dtype}"),
        "scale": "*fp32",
        **dict.fromkeys(("tokens", "slots", "blocks", *sizes), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    return Variant(
        f"grouped_lora/{dtype}-r{rank}{'-copy' if copy else ''}",
        lora_kernel,
        types,
        constants,
        num_warps=4,
        num_stages=3,
        matrix=dtype != "fp32",
        divisible=frozenset(sizes),
    )
