"""The specification of `grouped_lora` in plain PyTorch: one token at a time, nothing clever."""

from __future__ import annotations

import torch
from torch import Tensor

RANKS = (16, 32, 64)
"""What stored adapters are padded to; a compiled form each."""


def grouped_lora(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> Tensor:
    """base_out + scale * (x @ A.T @ B.T) as `ops.grouped_lora` says, arguments taken as valid.

    In float64 if `x` is, else in float32, rounded to the dtype of `base_out` at the end.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    out = base_out.clone()
    for token, slot in enumerate(adapter_id.tolist()):
        if 0 <= slot < len(a):
            low = a[slot].to(dtype) @ x[token].to(dtype)
            delta = scale[slot].to(dtype) * (b[slot].to(dtype) @ low)
            out[token] = base_out[token].to(dtype) + delta
    return out
