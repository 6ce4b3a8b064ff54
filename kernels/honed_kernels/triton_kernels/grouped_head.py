"""The grouped head: every row of a batch scored by its own head, in one launch."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from honed_kernels.aot.variant import Variant
from honed_kernels.backend import interpreted
from honed_kernels.memory import Activation, Field, Front, Memory
from honed_kernels.triton_kernels import head_front
from honed_kernels.triton_kernels.head_tiles import ROWS, product, rank, rows_of, slots
from honed_kernels.triton_kernels.label_scores import (
    NO_KEY,
    TOP_K,
    finish,
    keys_of,
    merge,
    no_head,
    sigmoid_sums,
    softmax_sums,
)

FIELDS = tl.constexpr(len(Field))
NUM_LABELS = tl.constexpr(int(Field.NUM_LABELS))
FEATURES = tl.constexpr(int(Field.FEATURES))
FRONT = tl.constexpr(int(Field.FRONT))
ACTIVATION = tl.constexpr(int(Field.ACTIVATION))
TEMPERATURE_BITS = tl.constexpr(int(Field.TEMPERATURE_BITS))
VERSION = tl.constexpr(int(Field.VERSION))
SIGMOID = tl.constexpr(int(Activation.SIGMOID))
NO_FRONT, COSINE = tl.constexpr(int(Front.NONE)), tl.constexpr(int(Front.COSINE))
# Labels at once. Those of float32, which no tensor core multiplies, would spill in other sizes.
_BLOCKS = {"fp16": (64, 128, 256), "bf16": (64, 128, 256), "fp32": (128,)}
_TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


@triton.jit(
    do_not_specialize=["rows", "models", "top_k"], do_not_specialize_on_alignment=["head_id"]
)
def score_kernel(
    pooled, made, head_id, pointers, descriptor, weight, bias,
    ids, probabilities, measures, status, version, logits,
    rows, models, top_k, hidden, stride, made_size, made_before, width, max_labels,
    LOGITS: tl.constexpr, UPCAST: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One program scores the tile that its row leads, if it leads one; the grid is (rows,).

    pooled [rows, hidden] with `stride` from row to row, made [rows, made_size] by the layer in
    front, its first `made_before` columns the vector, the next four as `Memory`; then the outputs:
    ids and probabilities [rows, top_k], measures [3, rows], status and version [rows], logits
    [rows, max_labels].
    """
    row = tl.program_id(0)
    out = (ids, probabilities, measures, status)
    head = tl.load(head_id + row)
    # Loads in flight at once, and not each after the branch that needs the one before.
    slot = slots(head, pointers, models)
    ahead = rank(head, tl.where(head < 0, 0, row), head_id)
    if slot < 0:
        no_head(out, version, row, rows, top_k)
        return
    about = descriptor + slot * FIELDS
    num_labels = tl.load(about + NUM_LABELS).to(tl.int32)
    features = tl.load(about + FEATURES).to(tl.int32)
    front = tl.load(about + FRONT)
    sigmoid = tl.load(about + ACTIVATION) == SIGMOID
    temperature = tl.load(about + TEMPERATURE_BITS).to(tl.int32).to(tl.float32, bitcast=True)
    if ahead % ROWS != 0:
        return
    tile, here = rows_of(head, row, head_id, rows)
    # Chosen without a branch: behind one the compiler forgets the alignment and loads by words.
    made += tl.where(front == COSINE, made_before, 0)
    x = tl.where(front == NO_FRONT, pooled + tile * stride, made + tile * made_size)
    limit = tl.where(front == NO_FRONT, hidden, made_size)  # weights end before rows of `made` do

    best = tl.full([ROWS, TOP_K], NO_KEY, tl.int64)
    high = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    moment = tl.zeros([ROWS], tl.float32)
    wrong = tl.zeros([ROWS], tl.int32)
    # Most heads are one block: what the compiler would keep ready for the next would only spill.
    for start in tl.range(0, num_labels, BLOCK_C, disable_licm=True):
        label = start + tl.arange(0, BLOCK_C)
        named = label < num_labels
        at = slot * max_labels + label
        z = product(x, here, limit, weight + at * width, named, features, UPCAST)
        z += tl.load(bias + at, mask=named, other=0.0)[None, :]
        if LOGITS:
            to = logits + tile[:, None] * max_labels + label[None, :]
            tl.store(to, z, mask=here[:, None] & named[None, :])
        wrong |= tl.max(((z != z) | (z == float("inf"))).to(tl.int32), 1)
        keys = tl.where(named[None, :], keys_of(z, label), NO_KEY)
        best = merge(best, keys, tl.maximum(top_k, 2))
        z = tl.where(named[None, :] & (z == z), z, float("-inf"))
        before = high
        high = tl.maximum(high, tl.max(z, 1))
        if sigmoid:
            total, moment = sigmoid_sums(z, total, moment, temperature)
        else:
            total, moment = softmax_sums(z, high, before, total, moment, temperature)
    failed = (wrong > 0) | (high == float("-inf"))
    tl.store(version + tile, tl.load(about + VERSION), mask=here)
    finish(
        out, tile, here, rows, best, high, failed, total, moment, temperature, sigmoid,
        num_labels, top_k,
    )  # fmt: skip


def _form(max_labels: int, dtype: str) -> dict[str, Any]:
    """Tile and warps of the score kernel: by the capacity and the type, never by the batch.

    A program streams a head's weights by itself: small tiles need more of them under way.
    """
    sizes = _BLOCKS[dtype]
    block = min((size for size in sizes if size >= max_labels), default=sizes[-1])
    stages = 4 if block == 256 or dtype == "fp32" else 6
    return {"BLOCK_C": block, "num_warps": 8 if block > 64 else 4, "num_stages": stages}


def launch(pooled: Tensor, head_id: Tensor, memory: Memory, out: tuple[Tensor, ...]) -> None:
    """Fill `out`, contiguous. Arguments as `ops.grouped_head`, taken as valid.

    Args:
        pooled: float32 (rows, hidden).
        head_id: int32 (rows,).
        memory: of the heads.
        out: ids and probabilities (rows, top_k); margin, entropy and energy (3, rows); status and
            version (rows,); logits (rows, max_labels), or (rows, 0) if not asked for.
    """
    rows, max_labels, width = len(pooled), *memory.weight.shape[1:]
    if not rows:
        return
    ids, logits = out[0], out[-1]
    if logits.shape[1]:
        logits.fill_(-torch.inf)
    made = head_front.launch(pooled, head_id, memory)
    score_kernel[(rows,)](
        pooled,
        made,
        head_id,
        *memory[:4],
        *out,
        rows,
        len(memory.pointers),
        ids.shape[1],
        pooled.shape[1],
        pooled.stride(0),
        made.shape[1],
        memory.front_weight.shape[2] if memory.shared else 0,
        width,
        max_labels,
        LOGITS=logits.shape[1] > 0,
        UPCAST=interpreted(),
        **_form(max_labels, _TYPES[memory.weight.dtype]),
    )


def variants() -> tuple[Variant, ...]:
    """Each tile in each type of weights, without and with all logits."""
    return tuple(
        _variant(capacity, dtype, logits=logits)
        for dtype, blocks in _BLOCKS.items()
        for capacity in blocks
        for logits in (False, True)
    )


def _variant(capacity: int, dtype: str, *, logits: bool) -> Variant:
    constants = {"LOGITS": logits, "UPCAST": False, **_form(capacity, dtype)}
    num_warps, num_stages = constants.pop("num_warps"), constants.pop("num_stages")
    return Variant(
        f"grouped_head/score/{dtype}-c{capacity}{'-logits' if logits else ''}",
        score_kernel,
        {
            "pooled": "*fp32",
            "made": "*fp32",
            "head_id": "*i32",
            "pointers": "*i32",
            "descriptor": "*i64",
            "weight": f"*{dtype}",
            "bias": "*fp32",
            "ids": "*i32",
            "probabilities": "*fp32",
            "measures": "*fp32",
            "status": "*i32",
            "version": "*i64",
            "logits": "*fp32",
            **dict.fromkeys(("rows", "models", "top_k", "hidden", "stride"), "i32"),
            **dict.fromkeys(("made_size", "made_before", "width", "max_labels"), "i32"),
            **dict.fromkeys(constants, "constexpr"),
        },
        constants,
        num_warps,
        num_stages,
        matrix=dtype != "fp32",
        divisible=frozenset(
            {"hidden", "stride", "made_size", "made_before", "width", "max_labels"}
        ),
    )
