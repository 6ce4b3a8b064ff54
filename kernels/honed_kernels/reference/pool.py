"""The specification of `pool`: one sequence at a time, in plain PyTorch."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from honed_kernels.status import EMPTY


def pool(
    hidden: Tensor,
    cu_seqlens: Tensor,
    *,
    kind: str,
    normalize: bool = False,
    norm: tuple[Tensor, Tensor | None, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pool as `ops.pool` says, in float32 or the float64 of `hidden`; inputs are taken as valid."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    pooled = hidden.new_zeros(len(cu_seqlens) - 1, hidden.shape[1], dtype=dtype)
    status = torch.zeros(len(pooled), dtype=torch.int32, device=hidden.device)
    for row, (start, end) in enumerate(pairwise(cu_seqlens.tolist())):
        if start == end:
            status[row] = EMPTY
            continue
        tokens = hidden[start:end].to(dtype)
        if norm is not None:
            weight, bias, eps = norm
            tokens = F.layer_norm(tokens, weight.shape, weight, bias, eps)
        vector = {
            "cls": tokens[0],
            "last": tokens[-1],
            "mean": tokens.mean(0),
            "max": tokens.amax(0),
        }[kind]
        pooled[row] = F.normalize(vector, dim=0) if normalize else vector
    return pooled, status
