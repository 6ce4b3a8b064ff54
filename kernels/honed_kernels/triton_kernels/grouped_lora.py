"""Low-rank adapters over one layer, many of them in a batch: shrink and expand in one launch.

A program takes a tile of tokens and goes through the adapters that occur in it, one after the
other: tokens of a text lie together, so there are one or two. So no token needs sorting, the grid
is fixed by the shapes, and a captured graph takes any mix. Each block of output columns computes
the narrow product anew: that costs less than a second launch and its wait.

A token keeps its own adapter's product only, by selection and not by adding zeros, so a broken
adapter touches no other token and no bit depends on the neighbours.
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


@triton.jit(do_not_specialize=["tokens", "slots"], do_not_specialize_on_alignment=["adapter_id"])
def lora_kernel(
    x, base, adapter_id, a, b, scale, tokens, slots, in_features, out_features,
    x_stride, base_stride,
    TOKENS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, RANK: tl.constexpr,
    CHUNK: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One program adds to COLUMNS columns of TOKENS tokens.

    Grid (tiles of tokens, blocks of columns). x [tokens, in_features] and base [tokens,
    out_features] with strides from token to token, adapter_id [tokens], a [slots, RANK,
    in_features], b [slots, out_features, RANK], scale [slots]. CHUNK ranks at a time.
    """
    first = tl.program_id(0) * TOKENS
    token = tl.arange(0, TOKENS)
    here = first + token < tokens
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    adapter = tl.load(adapter_id + first + token, mask=here, other=-1)
    adapter = tl.where(adapter < slots, adapter, -1)
    x += first.to(tl.int64) * x_stride
    delta = tl.zeros([TOKENS, COLUMNS], tl.float32)
    slot = tl.max(adapter, 0)
    while slot >= 0:
        high = tl.zeros([TOKENS, COLUMNS], tl.float32)
        for rank in range(0, RANK, CHUNK):
            down = a + (slot.to(tl.int64) * RANK + rank) * in_features
            low = _shrink(x, down, token, here, in_features, x_stride, CHUNK, DEPTH, UPCAST)
            up = b + slot.to(tl.int64) * out_features * RANK + rank
            up += column[None, :] * RANK + tl.arange(0, CHUNK)[:, None]
            wide = tl.load(up, mask=(column < out_features)[None, :], other=0.0)
            high = dot(low.to(wide.dtype), wide, high, UPCAST)
        delta = tl.where((adapter == slot)[:, None], high, delta)
        slot = tl.max(tl.where(adapter < slot, adapter, -1), 0)

    mine = adapter >= 0
    strength = tl.load(scale + adapter, mask=mine, other=0.0)
    at = base + first.to(tl.int64) * base_stride + token[:, None] * base_stride + column[None, :]
    inside = mine[:, None] & (column < out_features)[None, :]
    total = tl.load(at, mask=inside, other=0.0).to(tl.float32) + strength[:, None] * delta
    tl.store(at, total.to(base.dtype.element_ty), mask=inside)


def _form(rank: int, *, half: bool) -> dict[str, int]:
    """What is fixed at compile time: by the rank and the dtype alone.

    float32 has no matrix instructions that keep all bits, so there threads hold less at once.
    """
    columns, depth, chunk = (256, 64, rank) if half else (64, 32, 16)
    return {"TOKENS": _TOKENS, "COLUMNS": columns, "DEPTH": depth, "RANK": rank, "CHUNK": chunk}


def launch(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> None:
    """Add to `base_out` in place. Arguments as `ops.grouped_lora`, taken as valid."""
    (tokens, in_features), out_features = x.shape, base_out.shape[1]
    slots, rank = a.shape[:2]
    if not tokens or not slots:
        return
    form = _form(rank, half=x.dtype.itemsize == 2)
    grid = (triton.cdiv(tokens, form["TOKENS"]), triton.cdiv(out_features, form["COLUMNS"]))
    lora_kernel[grid](
        x, base_out, adapter_id, a, b, scale, tokens, slots, in_features, out_features,
        x.stride(0), base_out.stride(0),
        **form, UPCAST=interpreted(), num_warps=4, num_stages=3,
    )  # fmt: skip


def variants() -> tuple[Variant, ...]:
    """All forms for layers whose sizes and strides are multiples of 16, as encoders have."""
    return tuple(_variant(dtype, rank) for dtype in ("fp16", "bf16", "fp32") for rank in RANKS)


def _variant(dtype: str, rank: int) -> Variant:
    constants = {**_form(rank, half=dtype != "fp32"), "UPCAST": False}
    sizes = ("in_features", "out_features", "x_stride", "base_stride")
    types = {
        "x": f"*{dtype}",
        "base": f"*{dtype}",
        "adapter_id": "*i32",
        "a": f"*{dtype}",
        "b": f"*{dtype}",
        "scale": "*fp32",
        **dict.fromkeys(("tokens", "slots", *sizes), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    return Variant(
        f"grouped_lora/{dtype}-r{rank}",
        lora_kernel,
        types,
        constants,
        num_warps=4,
        num_stages=3,
        matrix=dtype != "fp32",
        divisible=frozenset(sizes),
    )
