"""The same heads in plain PyTorch, as one would write them without Honed.

All take float16 vectors, where ours take float32 and round themselves, and rows sorted by head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Scores = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Heads of equal size side by side; row n belongs to head n * heads // rows.

    Attributes:
        weight: float16 (heads, labels, hidden).
        bias: float16 (heads, labels).
        temperature: float32 (heads,).
    """

    weight: Tensor
    bias: Tensor
    temperature: Tensor


def epilogue(logits: Tensor, temperature: Tensor, top_k: int) -> Scores:
    """What `grouped_head` returns.

    Args:
        logits: (rows, labels).
        temperature: float32, that broadcasts.
        top_k: labels to return.

    Returns:
        Probabilities and ids (rows, top_k); margin, entropy and energy (rows,).
    """
    scaled = logits.float() / temperature
    lse = scaled.logsumexp(1, keepdim=True)
    every = (scaled - lse).exp()
    best, ids = every.topk(top_k)
    entropy = lse[:, 0] - (every * scaled).sum(1)
    return best, ids, best[:, 0] - best[:, 1], entropy, -temperature * lse


def loop(x: Tensor, heads: Heads, top_k: int) -> Scores:
    """One head after the other, each by itself; only the probabilities are put together."""
    parts = zip(
        x.chunk(len(heads.weight)), heads.weight, heads.bias, heads.temperature, strict=True
    )
    found = [epilogue(F.linear(rows, w, b), t, top_k) for rows, w, b, t in parts]
    return torch.cat([one[0] for one in found]), *found[0][1:]


def padded_bmm(x: Tensor, heads: Heads, top_k: int) -> Scores:
    """One batched product; the heads have equally many rows and labels, so nothing is padded."""
    groups = x.view(len(heads.weight), -1, x.shape[1])
    logits = torch.baddbmm(heads.bias[:, None], groups, heads.weight.transpose(1, 2))
    return epilogue(logits.view(len(x), -1), _temperatures(x, heads), top_k)


def sorted_addmm(x: Tensor, heads: Heads, top_k: int) -> Scores:
    """A product for each head into one matrix of logits, and one epilogue for all."""
    logits = x.new_empty(len(x), heads.bias.shape[1])
    parts = zip(
        x.chunk(len(heads.weight)), logits.chunk(len(heads.weight)),
        heads.weight, heads.bias, strict=True,
    )  # fmt: skip
    for rows, out, w, b in parts:
        torch.addmm(b, rows, w.T, out=out)
    return epilogue(logits, _temperatures(x, heads), top_k)


def _temperatures(x: Tensor, heads: Heads) -> Tensor:
    every = heads.temperature[:, None].expand(-1, len(x) // len(heads.weight))
    return every.reshape(-1, 1)


def mean_pool(states: Tensor, rows: int) -> Tensor:
    """The mean of texts of one length, which needs no boundaries."""
    return states.view(rows, -1, states.shape[1]).mean(1, dtype=torch.float32)
