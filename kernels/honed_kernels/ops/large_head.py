"""`large_head`: scores and best labels of a head with 10^4 to 10^6 labels; no logit is stored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.reference import large_head as reference
from honed_kernels.reference.large_head import Outputs

MAX_TOP_K = 16
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# Beyond these a temperature or its inverse leaves float32.
_COLDEST, _HOTTEST = 1e-30, 1e30


class LargeScores(NamedTuple):
    """What is known of each row; p is softmax(logits / temperature).

    Attributes:
        ids: int32 (rows, top_k): labels by falling logit, of equal ones the lower first.
        probabilities: float32 (rows, top_k): their p.
        margin: float32 (rows,): the highest p minus the second highest, 1 with one label.
        entropy: float32 (rows,): of p, in nats.
        energy: float32 (rows,): -temperature * lse; high where no label fits (Liu et al., 2020).
        lse: float32 (rows,): log(sum(exp(logits / temperature))).
        status: int32 (rows,): 0, or `status.NOT_FINITE`: scores are NaN, ids 0 to top_k - 1.
    """

    ids: Tensor
    probabilities: Tensor
    margin: Tensor
    entropy: Tensor
    energy: Tensor
    lse: Tensor
    status: Tensor


def large_head(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
    top_k: int = 1,
) -> LargeScores:
    """Score rows against many labels: logits = x @ weight.T + bias, in float32.

    Two launches whatever the number of labels; memory grows by 512 partial results a row at most.
    A row's scores are the same to the bit in any batch and at any place, and on one architecture
    in every run. A logit of minus infinity is a label switched off.

    Args:
        x: float16, bfloat16 or float32 (rows, hidden), rounded once to the dtype of `weight`:
            a launch more if it has another, or rows that are not contiguous.
        weight: float16, bfloat16 or float32 (labels, hidden), contiguous.
        bias: float32 (labels,), contiguous, or None.
        temperature: 1e-30 to 1e30. A captured CUDA graph keeps the number it was captured with.
        top_k: labels to return, 1 to 16, at most as many as there are.

    Raises:
        ValueError: if shapes, dtypes, devices or numbers are not as above.
    """
    _check(x, weight, bias, temperature, top_k)
    return LargeScores(*_large_head(x, weight, bias, temperature, top_k))


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, top_k: int) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or 0 in weight.shape:
        raise ValueError(
            f"x {tuple(x.shape)} and weight {tuple(weight.shape)} do not match, "
            "expected (rows, hidden) and (labels, hidden)"
        )
    if x.dtype not in _DTYPES or weight.dtype not in _DTYPES:
        raise ValueError(f"x is {x.dtype}, weight {weight.dtype}: expected 16 or 32 bit floats")
    if bias is not None and (bias.dtype != torch.float32 or bias.shape != weight.shape[:1]):
        raise ValueError(
            f"bias is {bias.dtype} {tuple(bias.shape)}, expected float32 ({len(weight)},)"
        )
    if not weight.is_contiguous() or not (bias is None or bias.is_contiguous()):
        raise ValueError("weight or bias is not contiguous; copy it once, by .contiguous()")
    if {x.device, weight.device} != {x.device if bias is None else bias.device}:
        raise ValueError("x, weight and bias are not on one device")
    if not _COLDEST <= temperature <= _HOTTEST:
        raise ValueError(f"temperature is {temperature}, expected {_COLDEST} to {_HOTTEST}")
    if not 1 <= top_k <= min(MAX_TOP_K, len(weight)):
        raise ValueError(
            f"top_k is {top_k}, expected 1 to {min(MAX_TOP_K, len(weight))} of {len(weight)} labels"
        )


@torch.library.custom_op("honed::large_head", mutates_args=())
def _large_head(
    x: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, top_k: int
) -> Outputs:
    if not runs_triton(x):
        return reference.large_head(x, weight, bias, temperature=temperature, top_k=top_k)
    from honed_kernels.triton_kernels.large_head import launch

    outputs = _outputs(x, top_k)
    launch(x.to(weight.dtype).contiguous(), weight, bias, temperature, outputs)
    return outputs


@_large_head.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, top_k: int) -> Outputs:
    return _outputs(x, top_k)


def _outputs(x: Tensor, top_k: int) -> Outputs:
    rows = x.shape[0]

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return x.new_empty(shape, dtype=dtype)

    return (
        empty(rows, top_k, dtype=torch.int32),
        empty(rows, top_k),
        empty(rows),
        empty(rows),
        empty(rows),
        empty(rows),
        empty(rows, dtype=torch.int32),
    )
