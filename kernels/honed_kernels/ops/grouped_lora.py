"""`grouped_lora`: tokens with different adapters share one call of a layer, and so one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from honed_kernels.backend import runs_triton
from honed_kernels.reference import grouped_lora as reference
from honed_kernels.reference.grouped_lora import RANKS

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def grouped_lora(
    x: Tensor,
    base_out: Tensor,
    adapter_id: Tensor,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    *,
    in_place: bool = False,
) -> Tensor:
    """Add each token's low-rank adapter to what the layer made of it, in one launch.

        out[t] = base_out[t] + scale[s] * (x[t] @ a[s].T @ b[s].T),  s = adapter_id[t]

    (Hu et al. 2021; many adapters in a batch: Chen et al. 2023, Punica.) Sums are float32; the
    narrow product is rounded once to the dtype of `b`. A token's result is the same to the bit in
    any batch and at any place. May be captured in a CUDA graph, and the adapters changed between
    replays. It is for serving and has no gradient.

    Args:
        x: float16, bfloat16 or float32 (tokens, in_features), each token contiguous. float64 takes
            the reference path, and all that is said to be float32 is then float64.
        base_out: of the dtype of `x`, or float32, (tokens, out_features), each token contiguous: a
            slice of the columns of a wider tensor will do. It shares no memory with `x`.
        adapter_id: int32 (tokens,), the slot of each token's adapter; any other number is none, and
            the token stays as it is.
        a: of the dtype of `x`, contiguous (slots, rank, in_features), the rank being 16, 32 or 64.
            An adapter of a lower rank has zeros in the rows that it lacks.
        b: of the dtype of `x`, contiguous (slots, out_features, rank).
        scale: float32 (slots,): alpha / rank, the rank being the adapter's own.
        in_place: add to `base_out` itself.

    Returns:
        `base_out`, or a new tensor like it.

    Raises:
        ValueError: if shapes, dtypes or devices are not as above, or a gradient would be needed.
    """
    _check(x, base_out, adapter_id, a, b, scale)
    if in_place:
        _in_place(x, base_out, adapter_id, a, b, scale)
        return base_out
    out: Tensor = _grouped_lora(x, base_out, adapter_id, a, b, scale)
    return out


def _check(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> None:
    if x.ndim != 2 or base_out.ndim != 2 or a.ndim != 3:
        raise ValueError("x and base_out must have two dimensions, a and b three")
    (tokens, in_features), out_features, (slots, rank) = x.shape, base_out.shape[1], a.shape[:2]
    if rank not in RANKS:
        raise ValueError(f"the rank is {rank}, expected one of {RANKS}: pad it with zeros")
    wide = torch.promote_types(x.dtype, torch.float32)
    for name, tensor, dtypes, shape in (
        ("x", x, _DTYPES, (tokens, in_features)),
        ("base_out", base_out, (x.dtype, wide), (tokens, out_features)),
        ("adapter_id", adapter_id, (torch.int32,), (tokens,)),
        ("a", a, (x.dtype,), (slots, rank, in_features)),
        ("b", b, (x.dtype,), (slots, out_features, rank)),
        ("scale", scale, (wide,), (slots,)),
    ):
        if tensor.shape != shape or tensor.dtype not in dtypes or 0 in tensor.shape[1:]:
            expected = " or ".join(str(dtype) for dtype in dict.fromkeys(dtypes))
            raise ValueError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {expected} {shape}"
            )
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}")
        if torch.is_grad_enabled() and tensor.requires_grad:
            raise ValueError("grouped_lora has no gradient; call it in torch.inference_mode()")
    _check_strides(x, base_out, adapter_id, a, b, scale)


def _check_strides(x: Tensor, base_out: Tensor, *others: Tensor) -> None:
    if any(tensor.stride(1) != 1 and tensor.shape[1] > 1 for tensor in (x, base_out)):
        raise ValueError("a token of x or base_out is not contiguous; call .contiguous()")
    if base_out.stride(0) < base_out.shape[1] and base_out.shape[0] > 1:
        raise ValueError("tokens of base_out share memory; call .contiguous()")
    if not all(tensor.is_contiguous() for tensor in others):
        raise ValueError("adapter_id, a, b and scale must be contiguous; call .contiguous()")


@torch.library.custom_op("honed::grouped_lora", mutates_args=())
def _grouped_lora(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> Tensor:
    out = base_out.new_empty(base_out.shape)
    _fill(out, x, base_out, adapter_id, a, b, scale)
    return out


@_grouped_lora.register_fake
def _(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> Tensor:
    return base_out.new_empty(base_out.shape)


@torch.library.custom_op("honed::grouped_lora_", mutates_args=("base_out",))
def _in_place(
    x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor
) -> None:
    _fill(base_out, x, base_out, adapter_id, a, b, scale)


@_in_place.register_fake
def _(x: Tensor, base_out: Tensor, adapter_id: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> None:
    pass


def _fill(out: Tensor, x: Tensor, base_out: Tensor, *adapters: Tensor) -> None:
    if x.dtype == torch.float64 or not runs_triton(x):
        out.copy_(reference.grouped_lora(x, base_out, *adapters))
        return
    from honed_kernels.triton_kernels.grouped_lora import launch

    launch(x, base_out, out, *adapters)
