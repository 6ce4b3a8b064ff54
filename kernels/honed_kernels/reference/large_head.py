"""The specification of `large_head` in plain PyTorch: all logits at once, nothing clever."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from honed_kernels.status import NOT_FINITE

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def large_head(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, temperature: float, top_k: int
) -> Outputs:
    """Score as `ops.large_head` says, arguments taken as valid; in float64 if `weight` is.

    Returns:
        The fields of `ops.large_head.LargeScores`, in order.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    labels = len(weight)
    if not len(x):
        return _scores(x.new_empty(0, labels, dtype=dtype), temperature, top_k)
    matrix, rows = weight.to(dtype), x.to(weight.dtype).to(dtype)
    # A product a row: a BLAS picks its order of summation, and with it the bits, by the shape.
    logits = torch.stack([matrix @ row for row in rows])
    if bias is not None:
        logits = logits + bias.to(dtype)
    return _scores(logits, temperature, top_k)


def _scores(logits: Tensor, temperature: float, top_k: int) -> Outputs:
    ranked, order = logits.sort(dim=1, descending=True, stable=True)
    peak = logits.amax(1)
    broken = logits.isnan().any(1) | peak.isinf()
    shifted = (logits - peak[:, None]) / temperature
    powers = shifted.exp()
    total = powers.sum(1)
    log_total = total.log()
    entropy = log_total - torch.where(powers > 0, powers * shifted, 0.0).sum(1) / total
    ranked = ((ranked - peak[:, None]) / temperature).exp() / total[:, None]
    second = ranked[:, 1] if logits.shape[1] > 1 else torch.zeros_like(total)

    def scores(number: Tensor) -> Tensor:
        return torch.where(broken.view(-1, *[1] * (number.ndim - 1)), math.nan, number)

    numbered = torch.arange(top_k, device=logits.device)
    return (
        torch.where(broken[:, None], numbered, order[:, :top_k]).to(torch.int32),
        scores(ranked[:, :top_k]),
        scores(ranked[:, 0] - second),
        scores(entropy.clamp_min(0)),
        scores(-(peak + temperature * log_total)),
        scores(peak / temperature + log_total),
        torch.where(broken, NOT_FINITE, 0).to(torch.int32),
    )
