"""`pool`: ragged token states in, one vector a sequence out. The step between encoder and head."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.reference import pool as reference

Kind = Literal["cls", "last", "mean", "max"]
_KINDS = ("cls", "last", "mean", "max")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# A norm needs all columns of a token in one program's registers.
_WIDEST_NORM = 8192


def pool(
    hidden: Tensor,
    cu_seqlens: Tensor,
    *,
    kind: Kind,
    normalize: bool = False,
    norm: tuple[Tensor, Tensor | None, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pool each sequence's token states to one vector, in one launch.

    Sums are float32, in an order that depends on the sequence alone: its vector is the same to the
    bit in any batch and at any place. A state that is not finite makes the columns (with a norm:
    the vector) that it touches not finite, for the head to report.

    Args:
        hidden: float16, bfloat16 or float32 (tokens, hidden), rows contiguous, any row stride.
            float64 takes the reference path, and all that is said to be float32 is then float64.
        cu_seqlens: int32 (sequences + 1,), never falling: sequence i has the tokens from
            cu_seqlens[i] to before cu_seqlens[i + 1]. Others are not read.
        kind: the first token ("cls"), the last, the mean, or the maximum of each column.
        normalize: divide each vector by its Euclidean length, or by 1e-12 if that is more.
        norm: float32 weight (hidden,), bias (hidden,) or None, and epsilon of a layer norm: it is
            applied to each token that is pooled, before pooling. At most 8,192 columns with this
            or `normalize`.

    Returns:
        pooled: float32 (sequences, hidden); 0 for an empty sequence.
        status: int32 (sequences,); `status.EMPTY` for an empty sequence, else 0.

    Raises:
        ValueError: if shapes, dtypes or devices are not as above.
    """
    weight, bias, eps = norm or (None, None, 0.0)
    _check(hidden, cu_seqlens, kind, weight, bias)
    if (normalize or norm) and hidden.shape[1] > _WIDEST_NORM:
        raise ValueError(f"{hidden.shape[1]} columns: a norm takes at most {_WIDEST_NORM}")
    pooled, status = _pool(hidden, cu_seqlens, kind, normalize, weight, bias, eps)
    return pooled, status


def _check(
    hidden: Tensor, cu_seqlens: Tensor, kind: str, weight: Tensor | None, bias: Tensor | None
) -> None:
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(_KINDS)}")
    if hidden.ndim != 2 or hidden.dtype not in _DTYPES:
        raise ValueError(
            f"hidden is {hidden.dtype} {tuple(hidden.shape)}, expected floats (tokens, hidden)"
        )
    if hidden.shape[1] == 0 or (hidden.stride(1) != 1 and hidden.shape[1] > 1):
        raise ValueError("a row of hidden is empty or not contiguous; call hidden.contiguous()")
    if cu_seqlens.dtype != torch.int32 or cu_seqlens.ndim != 1 or len(cu_seqlens) == 0:
        raise ValueError(
            f"cu_seqlens is {cu_seqlens.dtype} {tuple(cu_seqlens.shape)}, "
            "expected int32 (sequences + 1,)"
        )
    if not cu_seqlens.is_contiguous():
        raise ValueError("cu_seqlens is not contiguous")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is None:
            continue
        expected = torch.promote_types(hidden.dtype, torch.float32)
        if (
            vector.shape != hidden.shape[1:]
            or vector.dtype != expected
            or not vector.is_contiguous()
        ):
            raise ValueError(
                f"the norm's {name} is {vector.dtype} {tuple(vector.shape)}, "
                f"expected contiguous {expected} ({hidden.shape[1]},)"
            )
    devices = {tensor.device for tensor in (hidden, cu_seqlens, weight, bias) if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f"tensors are on {sorted(map(str, devices))}, expected one device")


@torch.library.custom_op("honed::pool", mutates_args=())
def _pool(
    hidden: Tensor,
    cu_seqlens: Tensor,
    kind: str,
    normalize: bool,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    if hidden.dtype == torch.float64 or not runs_triton(hidden):
        norm = None if weight is None else (weight, bias, eps)
        return reference.pool(hidden, cu_seqlens, kind=kind, normalize=normalize, norm=norm)
    from honed_kernels.triton_kernels.pool import launch

    pooled, status = _outputs(hidden, cu_seqlens)
    launch(
        hidden, cu_seqlens, pooled, status,
        kind=kind, normalize=normalize, weight=weight, bias=bias, eps=eps,
    )  # fmt: skip
    return pooled, status


@_pool.register_fake
def _(hidden: Tensor, cu_seqlens: Tensor, *_options: Any) -> tuple[Tensor, Tensor]:
    return _outputs(hidden, cu_seqlens)


def _outputs(hidden: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    sequences = cu_seqlens.shape[0] - 1
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    pooled = hidden.new_empty((sequences, hidden.shape[1]), dtype=dtype)
    return pooled, hidden.new_empty((sequences,), dtype=torch.int32)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    hidden, cu_seqlens, ctx.kind, ctx.normalize, weight, bias, ctx.eps = inputs
    ctx.save_for_backward(hidden, cu_seqlens, weight, bias)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, upstream: Tensor, _status: Tensor) -> tuple[Tensor | None, ...]:
    """Give each token its share of what its sequence gets, without waiting for the device."""
    hidden, cu_seqlens, weight, bias = ctx.saved_tensors
    if hidden.shape[0] == 0 or upstream.shape[0] == 0:
        none = [None if tensor is None else torch.zeros_like(tensor) for tensor in (weight, bias)]
        return torch.zeros_like(hidden), None, None, None, *none, None
    token = torch.arange(hidden.shape[0], device=hidden.device)
    sequence = torch.searchsorted(cu_seqlens, token.to(torch.int32), right=True) - 1
    inside = ((sequence >= 0) & (sequence < upstream.shape[0]))[:, None]
    sequence = sequence.clamp(0, upstream.shape[0] - 1)
    states = torch.where(inside, hidden.to(upstream.dtype), 0)
    tokens, mean, scale = states, None, None
    if weight is not None:
        tokens, mean, scale = torch.native_layer_norm(states, weight.shape, weight, bias, ctx.eps)

    if ctx.normalize:
        pooled, _ = _pool(hidden, cu_seqlens, ctx.kind, False, weight, bias, ctx.eps)
        upstream = _through_length(upstream, pooled)
    share = _share(ctx.kind, tokens, cu_seqlens, token, sequence, inside)
    gradient = torch.where(inside, upstream[sequence] * share, 0)
    if weight is None:
        return gradient.to(hidden.dtype), None, None, None, None, None, None
    wanted = [True, True, bias is not None]
    gradient, for_weight, for_bias = torch.ops.aten.native_layer_norm_backward(
        gradient, states, weight.shape, mean, scale, weight, bias, wanted
    )
    for_bias = None if bias is None else for_bias
    return gradient.to(hidden.dtype), None, None, None, for_weight, for_bias, None


def _through_length(upstream: Tensor, pooled: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(pooled, dim=1, keepdim=True).clamp_min(1e-12)
    unit = pooled / length
    return (upstream - unit * (upstream * unit).sum(1, keepdim=True)) / length


def _share(
    kind: str, tokens: Tensor, cu_seqlens: Tensor, token: Tensor, sequence: Tensor, inside: Tensor
) -> Tensor:
    """What part of its sequence's gradient a token gets: (tokens, 1), for max (tokens, hidden)."""
    start, end = cu_seqlens[:-1][sequence], cu_seqlens[1:][sequence]
    if kind == "cls":
        return (token == start)[:, None]
    if kind == "last":
        return (token == end - 1)[:, None]
    if kind == "mean":
        return (end - start).clamp_min(1)[:, None].to(tokens.dtype).reciprocal()
    index = sequence[:, None].expand_as(tokens)
    sizes = (cu_seqlens.shape[0] - 1, tokens.shape[1])
    candidates = torch.where(inside, tokens, float("-inf"))
    best = tokens.new_full(sizes, float("-inf")).scatter_reduce(0, index, candidates, "amax")
    # Equal greatest states share alike, as in torch.amax. Counts are exact in any order.
    hits = ((candidates == best[sequence]) & inside).to(tokens.dtype)
    count = tokens.new_zeros(sizes).scatter_add(0, index, hits)
    return hits / count.clamp_min(1)[sequence]


_pool.register_autograd(_backward, setup_context=_remember)
