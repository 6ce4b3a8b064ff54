"""The layer in front of heads: random Fourier features, shared, or a dense layer of the head's own.

Heads that read the vector as well as its features find a copy of it before them, so that their
logits are one product.

It is a launch of its own: each logit needs all its outputs, and one program would read the whole
layer (3 MB for 384 -> 4,096) where 64 programs read a part each.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from honed_kernels.aot.variant import Variant
from honed_kernels.backend import interpreted
from honed_kernels.memory import Field, Front, Memory
from honed_kernels.triton_kernels.head_tiles import ROWS, product, rank, rows_of, slots

FIELDS, FRONT = tl.constexpr(len(Field)), tl.constexpr(int(Field.FRONT))
WIDTH_BITS = tl.constexpr(int(Field.WIDTH_BITS))
NO_FRONT, COSINE = tl.constexpr(int(Front.NONE)), tl.constexpr(int(Front.COSINE))
ONE_BITS = tl.constexpr(0x3F800000)
TANH, GELU = tl.constexpr(int(Front.TANH)), tl.constexpr(int(Front.GELU))


@triton.jit
def _cos(x):
    """cos(x) = 1 - 2 sin(x / 2)^2, to 5e-7: the reduction in two steps, the series to h^13.

    The compiler's own keeps a table on the stack for huge arguments, and spills.
    """
    turns = tl.floor(x * 0.15915494309189535 + 0.5)
    h = 0.5 * x - turns * 3.140625 - turns * 0.0009676535897932385  # less pi, whose sign drops out
    q = h * h
    series = -1.984126984126984e-4 + q * (
        2.7557319223985893e-6 + q * (-2.505210838544172e-8 + q * 1.6059043836821613e-10)
    )
    sine = h * (1.0 + q * (-0.16666666666666666 + q * (0.008333333333333333 + q * series)))
    return 1.0 - 2.0 * sine * sine


@triton.jit
def _activate(x, front):
    u = tl.exp(-2.0 * tl.abs(x))
    tanh = (1.0 - u) / (1.0 + u)
    tanh = tl.where(x < 0, -tanh, tanh)
    gelu = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    relu = tl.where(x < 0, 0.0, x)  # keeps NaN
    return tl.where(front == TANH, tanh, tl.where(front == GELU, gelu, relu))


@triton.jit
def _copy(pooled, made, here, first, hidden, BLOCK_F: tl.constexpr):
    """Copy BLOCK_F columns of vectors, zeros past their end, some at a time."""
    for start in range(first, first + BLOCK_F, 8):
        column = start + tl.arange(0, 8)
        inside = here[:, None] & (column < hidden)[None, :]
        x = tl.load(pooled[:, None] + column[None, :], mask=inside, other=0.0)
        tl.store(made[:, None] + column[None, :], x, mask=here[:, None])


@triton.jit(do_not_specialize=["rows", "models"], do_not_specialize_on_alignment=["head_id"])
def cosine_kernel(
    pooled,
    head_id,
    pointers,
    descriptor,
    weight,
    bias,
    made,
    rows,
    models,
    hidden,
    stride,
    size,
    width,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """One program makes BLOCK_F columns of BLOCK_M rows, of those whose head reads them.

    Grid (rows / BLOCK_M, (width + size) / BLOCK_F). The layer is shared, so rows keep their order.
    weight [1, size, width]; made [rows, width + size]: the vector, then the features.
    """
    row = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    head = tl.load(head_id + row, mask=row < rows, other=-1)
    slot = slots(head, pointers, models)
    about = descriptor + slot * FIELDS
    front = tl.load(about + FRONT, mask=slot >= 0, other=NO_FRONT)
    here = front >= COSINE  # and BESIDE, the last
    if tl.max(here.to(tl.int32), 0) == 0:
        return
    made += row * (width + size)
    first = tl.program_id(1) * BLOCK_F
    if first < width:  # a multiple of BLOCK_F
        _copy(pooled + row * stride, made, here, first, hidden, BLOCK_F)
        return
    feature = first - width + tl.arange(0, BLOCK_F)
    named = feature < size
    w = weight + feature.to(tl.int64) * width
    # Loaded before the product: after it, addresses of descriptors would have taken registers.
    bits = tl.load(about + WIDTH_BITS, mask=here, other=ONE_BITS)
    narrow = 1.0 / bits.to(tl.int32).to(tl.float32, bitcast=True)
    y = product(pooled + row * stride, here, hidden, w, named, hidden, UPCAST)
    y = y * narrow[:, None] + tl.load(bias + feature, mask=named, other=0.0)[None, :]
    tl.store(made[:, None] + (width + feature)[None, :], _cos(y), mask=here[:, None])


@triton.jit(do_not_specialize=["rows", "models"], do_not_specialize_on_alignment=["head_id"])
def dense_kernel(
    pooled,
    head_id,
    pointers,
    descriptor,
    weight,
    bias,
    made,
    rows,
    models,
    hidden,
    stride,
    size,
    width,
    UPCAST: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """One program computes BLOCK_F outputs of the dense layer of the tile that its row leads.

    Grid (rows, size / BLOCK_F). weight [slots, size, width], made [rows, size].
    """
    row = tl.program_id(0)
    head = tl.load(head_id + row)
    slot = slots(head, pointers, models)
    if slot < 0:
        return
    front = tl.load(descriptor + slot * FIELDS + FRONT)
    if front == NO_FRONT:
        return
    if rank(head, row, head_id) % ROWS != 0:
        return
    tile, here = rows_of(head, row, head_id, rows)
    feature = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    named = feature < size
    at = slot * size + feature
    y = product(pooled + tile * stride, here, hidden, weight + at * width, named, hidden, UPCAST)
    y += tl.load(bias + at, mask=named, other=0.0)[None, :]
    to = made + tile[:, None] * size + feature[None, :]
    tl.store(to, _activate(y, front), mask=here[:, None])


def _form(*, shared: bool, single: bool) -> dict[str, Any]:
    """Tile and warps; the cosine layer in float32, which no tensor core multiplies, would spill."""
    rows = {"BLOCK_M": 64} if shared else {}
    return {**rows, "BLOCK_F": 64, "num_warps": 8 if shared and single else 4, "num_stages": 4}


def launch(pooled: Tensor, head_id: Tensor, memory: Memory) -> Tensor:
    """What each row whose head has a layer reads, else undefined: float32 (rows, size).

    Of the cosine layer the first `padded(hidden)` columns are the vector.
    """
    layers, size, width = memory.front_weight.shape
    rows = len(pooled)
    if not layers:
        return pooled
    columns = width + size if memory.shared else size
    made = pooled.new_empty(rows, columns)
    form = _form(shared=memory.shared, single=memory.weight.dtype is torch.float32)
    kernel, programs = dense_kernel, rows
    if memory.shared:
        kernel, programs = cosine_kernel, triton.cdiv(rows, form["BLOCK_M"])
    kernel[(programs, columns // form["BLOCK_F"])](
        pooled,
        head_id,
        memory.pointers,
        memory.descriptor,
        memory.front_weight,
        memory.front_bias,
        made,
        rows,
        len(memory.pointers),
        pooled.shape[1],
        pooled.stride(0),
        size,
        width,
        UPCAST=interpreted(),
        **form,
    )
    return made


def variants() -> tuple[Variant, ...]:
    """Both layers in each type of weights."""
    return tuple(
        _variant(dtype, shared=shared)
        for shared in (True, False)
        for dtype in ("fp16", "bf16", "fp32")
    )


def _variant(dtype: str, *, shared: bool) -> Variant:
    constants = {"UPCAST": False, **_form(shared=shared, single=dtype == "fp32")}
    num_warps, num_stages = constants.pop("num_warps"), constants.pop("num_stages")
    return Variant(
        f"head_front/{'cosine' if shared else 'dense'}/{dtype}",
        cosine_kernel if shared else dense_kernel,
        {
            "pooled": "*fp32",
            "head_id": "*i32",
            "pointers": "*i32",
            "descriptor": "*i64",
            "weight": f"*{dtype}",
            "bias": "*fp32",
            "made": "*fp32",
            **dict.fromkeys(("rows", "models", "hidden", "stride", "size", "width"), "i32"),
            **dict.fromkeys(constants, "constexpr"),
        },
        constants,
        num_warps,
        num_stages,
        matrix=dtype != "fp32",
        divisible=frozenset({"hidden", "stride", "size", "width"}),
    )
