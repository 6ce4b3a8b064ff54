"""The specification of the grouped head in plain PyTorch: one row at a time, nothing clever.

Every fast path (`head.py`, later the Triton kernels) is tested against it, usually in float64.
Only tests and GPU code import this module; the CPU server never loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from honed_kernels.head import HeadWeights


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOutput:
    """The fields of `honed_kernels.head.HeadOutput` as tensors of the dtype of `pooled`."""

    indices: list[Tensor]
    probabilities: list[Tensor]
    logits: list[Tensor] | None


def grouped_head(
    pooled: Tensor,
    head_id: Tensor,
    heads: Sequence[HeadWeights],
    *,
    top_k: int | Sequence[int] = 1,
    logits: bool = False,
) -> ReferenceOutput:
    """Score every row with the head it picks, in the dtype of `pooled`.

    Args and order of labels as in `honed_kernels.head.grouped_head`; inputs are taken as valid.

    Args:
        pooled: floating (rows, hidden).
        head_id: integers (rows,).
        heads: all for the same `hidden`.
        top_k: labels to return, for all rows or for each.
        logits: whether to return every label's logits.
    """
    depth = [top_k] * len(pooled) if isinstance(top_k, int) else list(top_k)
    indices, probabilities, scores = [], [], []
    for vector, index, k in zip(pooled, head_id.tolist(), depth, strict=True):
        head = heads[index]
        weight = torch.tensor(head.weight, dtype=pooled.dtype, device=pooled.device)
        bias = torch.tensor(head.bias, dtype=pooled.dtype, device=pooled.device)
        row = weight @ vector + bias
        ranked, order = torch.softmax((row - row.max()) / head.temperature, dim=0).sort(
            descending=True, stable=True
        )
        indices.append(order[:k])
        probabilities.append(ranked[:k])
        scores.append(row)
    return ReferenceOutput(indices, probabilities, scores if logits else None)
