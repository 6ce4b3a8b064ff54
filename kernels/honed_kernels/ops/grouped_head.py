"""The grouped head on tensors: pooled rows in, the best labels of each row's own head out.

It is the last step on a GPU, inside the captured graph: one launch for any mix of heads, label
counts and versions, and one before it where heads have a layer in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.bank import Bank
from honed_kernels.memory import Memory
from honed_kernels.reference import heads as reference

MAX_TOP_K = 16


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One entry per row of the batch, in its order.

    Attributes:
        ids: int32 (rows, top_k): labels by falling logit, equal ones by rising index; -1 past the
            head's last label.
        probabilities: float32 (rows, top_k); 0 where the id is -1.
        margin: float32 (rows,): the best probability less the second, which is 0 with one label.
        entropy: float32 (rows,), in nats; of sigmoid heads the sum over the labels.
        energy: float32 (rows,): low for what resembles the training data. -T * logsumexp(logits /
            T) (Liu et al. 2020); of sigmoid heads -T * sum(softplus(logits / T)) (Wang et al.,
            2021).
        status: int32 (rows,), bits of `honed_kernels.status`: NOT_FINITE, NO_HEAD.
        version: int64 (rows,): of the head that answered, 0 if none.
        logits: float32 (rows, max_labels of the bank's memory), before temperature, -inf past the
            head's last label; None if not asked for.
    """

    ids: Tensor
    probabilities: Tensor
    margin: Tensor
    entropy: Tensor
    energy: Tensor
    status: Tensor
    version: Tensor
    logits: Tensor | None


def grouped_head(
    pooled: Tensor, head_id: Tensor, bank: Bank, *, top_k: int = 1, logits: bool = False
) -> Scores:
    """Score every row with the head that the table holds for its model when the kernel runs.

    Rows of one head share the reading of its weights. A row's scores are the same to the bit
    whatever shares its batch. Sums are float32; `pooled`, and what a layer in front makes of it,
    are rounded to the dtype of the weights once. May be captured in a CUDA graph.

    A row with a NaN or plus infinity among its logits, or only -inf, has status NOT_FINITE, the ids
    0 to top_k - 1 and NaN for scores. A row without a head has NO_HEAD, ids -1 and 0 for scores.

    Args:
        pooled: float32 (rows, hidden), each row contiguous.
        head_id: int32 (rows,): a model's number in the table, or -1 to skip the row.
        bank: `HeadTable.bank`, or the one that `on_growth` gave.
        top_k: 1 to 16.
        logits: whether to return every label's logits.

    Raises:
        ValueError: if shapes, dtypes or devices do not match, or `top_k` is out of range.
    """
    _check(pooled, head_id, bank, top_k)
    ids, probabilities, measures, status, version, every = _op(
        pooled, head_id, *bank.memory, top_k, logits
    )
    margin, entropy, energy = measures.unbind()
    return Scores(
        ids, probabilities, margin, entropy, energy, status, version, every if logits else None
    )


def _check(pooled: Tensor, head_id: Tensor, bank: Bank, top_k: int) -> None:
    hidden, device = bank.shape.hidden, bank.memory.weight.device
    if pooled.ndim != 2 or pooled.shape[1] != hidden or pooled.dtype != torch.float32:
        raise ValueError(
            f"pooled is {pooled.dtype} {tuple(pooled.shape)}, expected float32 (rows, {hidden})"
        )
    if hidden > 1 and pooled.stride(1) != 1:
        raise ValueError("the rows of pooled are not contiguous; call .contiguous()")
    if head_id.dtype != torch.int32 or head_id.shape != pooled.shape[:1]:
        raise ValueError(
            f"head_id is {head_id.dtype} {tuple(head_id.shape)}, expected int32 ({len(pooled)},)"
        )
    if not head_id.is_contiguous():
        raise ValueError("head_id is not contiguous; call .contiguous()")
    if not pooled.device == head_id.device == device:
        raise ValueError(f"pooled is on {pooled.device}, head_id on {head_id.device}, not {device}")
    if not 1 <= top_k <= MAX_TOP_K:
        raise ValueError(f"top_k is {top_k}, expected 1 to {MAX_TOP_K}")


def _empty(
    pooled: Tensor, head_id: Tensor, descriptor: Tensor, weight: Tensor, top_k: int, logits: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = pooled.shape[0]
    return (
        head_id.new_empty((rows, top_k)),
        pooled.new_empty((rows, top_k)),
        pooled.new_empty((3, rows)),
        head_id.new_empty((rows,)),
        descriptor.new_empty((rows,)),
        pooled.new_empty((rows, weight.shape[1] if logits else 0)),
    )


@torch.library.custom_op("honed::grouped_head", mutates_args=())
def _op(
    pooled: Tensor,
    head_id: Tensor,
    pointers: Tensor,
    descriptor: Tensor,
    weight: Tensor,
    bias: Tensor,
    front_weight: Tensor,
    front_bias: Tensor,
    top_k: int,
    logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    memory = Memory(pointers, descriptor, weight, bias, front_weight, front_bias)
    if not runs_triton(pooled):
        return reference.grouped_head_in_memory(pooled, head_id, memory, top_k, logits)
    from honed_kernels.triton_kernels import grouped_head as kernels

    out = _empty(pooled, head_id, descriptor, weight, top_k, logits)
    kernels.launch(pooled, head_id, memory, out)
    return out


@_op.register_fake
def _(
    pooled: Tensor,
    head_id: Tensor,
    pointers: Tensor,
    descriptor: Tensor,
    weight: Tensor,
    bias: Tensor,
    front_weight: Tensor,
    front_bias: Tensor,
    top_k: int,
    logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty(pooled, head_id, descriptor, weight, top_k, logits)
