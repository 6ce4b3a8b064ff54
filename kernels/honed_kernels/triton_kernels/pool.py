"""Ragged token states to one vector a sequence, in one launch: gather, mean or maximum.

Each sequence is read in tiles of tokens counted from its own first one, and each column of a tile
is summed by itself, so no bit depends on the batch, the position in it or the token before.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from honed_kernels import status as bits
from honed_kernels.aot.variant import Variant

EMPTY = tl.constexpr(bits.EMPTY)


@triton.jit
def _layer_norm(x, weight, bias, columns, inside, hidden_size, eps):
    mean = tl.sum(x, 1) / hidden_size
    centred = tl.where(inside[None, :], x - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / hidden_size + eps)
    x = centred * scale[:, None] * tl.load(weight + columns, mask=inside, other=0.0)[None, :]
    if bias is not None:
        x += tl.load(bias + columns, mask=inside, other=0.0)[None, :]
    return x


@triton.jit(do_not_specialize_on_alignment=["cu_seqlens"])
def pool_kernel(
    hidden,
    cu_seqlens,
    weight,
    bias,
    pooled,
    status,
    stride,
    hidden_size,
    eps,
    KIND: tl.constexpr,
    NORMALIZE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """One program pools BLOCK_H columns of one sequence; neighbours share a sequence's rows.

    Grid (sequences * blocks of columns,). hidden [tokens, hidden_size] with `stride` from token to
    token, cu_seqlens [sequences + 1], weight and bias [hidden_size] or None, pooled [sequences,
    hidden_size], status [sequences]. With a norm one block holds all columns.
    """
    blocks = tl.cdiv(hidden_size, BLOCK_H)
    sequence = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    columns = block * BLOCK_H + tl.arange(0, BLOCK_H)
    inside = columns < hidden_size
    start = tl.load(cu_seqlens + sequence)
    end = tl.load(cu_seqlens + sequence + 1)
    length = end - start
    if KIND == "cls":
        end = tl.minimum(start + 1, end)
    elif KIND == "last":
        start = tl.maximum(start, end - 1)

    result = tl.full([BLOCK_T, BLOCK_H], float("-inf") if KIND == "max" else 0.0, tl.float32)
    for first in range(start, end, BLOCK_T):
        token = first + tl.arange(0, BLOCK_T)
        here = (token < end)[:, None] & inside[None, :]
        at = hidden + token.to(tl.int64)[:, None] * stride + columns[None, :]
        x = tl.load(at, mask=here, other=0.0).to(tl.float32)
        if weight is not None:
            x = _layer_norm(x, weight, bias, columns, inside, hidden_size, eps)
        if KIND == "max":
            # A NaN enters, and stays since nothing compares above it.
            result = tl.where(here & ((x > result) | (x != x)), x, result)
        else:
            result += tl.where(here, x, 0.0)

    if KIND == "max":
        wrong = tl.max((result != result).to(tl.int32), 0) > 0
        vector = tl.max(tl.where(result != result, float("-inf"), result), 0)
        vector = tl.where(wrong, float("nan"), vector)
    else:
        vector = tl.sum(result, 0)
    if KIND == "mean":
        vector /= tl.maximum(length, 1)
    vector = tl.where(inside & (length > 0), vector, 0.0)
    if NORMALIZE:
        norm = tl.sqrt(tl.sum(vector * vector, 0))
        vector /= tl.where(norm < 1e-12, 1e-12, norm)
    tl.store(pooled + sequence.to(tl.int64) * hidden_size + columns, vector, mask=inside)
    if block == 0:
        tl.store(status + sequence, tl.where(length > 0, 0, EMPTY))


def _form(kind: str, hidden_size: int, *, normalize: bool, normed: bool) -> dict[str, Any]:
    """What is fixed at compile time: by the width and what is asked for, never by the batch."""
    whole = normalize or normed
    block_h = triton.next_power_of_2(hidden_size) if whole else 64
    # A norm keeps a token, its weight and bias at once.
    tile = 4096 if normed or not whole else 8192
    return {
        "KIND": kind,
        "NORMALIZE": normalize,
        "BLOCK_T": 1 if kind in ("cls", "last") else max(1, tile // block_h),
        "BLOCK_H": block_h,
        "num_warps": max(8, block_h // 256) if whole else 4,
    }


def launch(
    hidden: Tensor,
    cu_seqlens: Tensor,
    pooled: Tensor,
    status: Tensor,
    *,
    kind: str,
    normalize: bool,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> None:
    """Fill `pooled` and `status`, both contiguous. Arguments as `ops.pool`, taken as valid."""
    sequences, hidden_size = pooled.shape
    form = _form(kind, hidden_size, normalize=normalize, normed=weight is not None)
    programs = sequences * triton.cdiv(hidden_size, form["BLOCK_H"])
    if programs:
        pool_kernel[(programs,)](
            hidden,
            cu_seqlens,
            weight,
            bias,
            pooled,
            status,
            hidden.stride(0),
            hidden_size,
            eps,
            **form,
        )


_DTYPES = ("fp16", "bf16", "fp32")


def variants() -> tuple[Variant, ...]:
    """The forms that served encoders launch: MiniLM, BERT base and large."""
    plain = [
        _variant(kind, dtype, 768, normalize=False, norm="")
        for kind in ("cls", "last", "mean", "max")
        for dtype in _DTYPES
    ]
    normalized = [
        _variant(kind, dtype, hidden_size, normalize=True, norm="")
        for kind in ("cls", "mean")
        for dtype in _DTYPES
        for hidden_size in (384, 1024)
    ]
    # The widest tile of each further path.
    widest = [
        _variant("mean", "bf16", 1024, normalize=False, norm="bias"),
        _variant("max", "fp32", 4096, normalize=True, norm="bias"),
        _variant("cls", "fp32", 8192, normalize=True, norm="weight"),
    ]
    return (*plain, *normalized, *widest)


def _variant(kind: str, dtype: str, hidden_size: int, *, normalize: bool, norm: str) -> Variant:
    form = _form(kind, hidden_size, normalize=normalize, normed=bool(norm))
    num_warps = form.pop("num_warps")
    absent = {} if norm == "bias" else {"bias": None} if norm else {"weight": None, "bias": None}
    constants = {**absent, **form}
    types = {
        "hidden": f"*{dtype}",
        "cu_seqlens": "*i32",
        "weight": "*fp32",
        "bias": "*fp32",
        "pooled": "*fp32",
        "status": "*i32",
        "stride": "i32",
        "hidden_size": "i32",
        "eps": "fp32",
        **dict.fromkeys(form, "constexpr"),
        **dict.fromkeys(absent, "constexpr"),
    }
    suffix = ("-l2" if normalize else "") + (f"-norm-{norm}" if norm else "")
    width = f"-h{form['BLOCK_H']}" if normalize or norm else ""
    return Variant(
        f"pool/{kind}/{dtype}{suffix}{width}",
        pool_kernel,
        types,
        constants,
        num_warps,
        3,
        divisible=frozenset({"stride", "hidden_size"}),
    )
