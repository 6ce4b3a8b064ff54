"""The forms of the kernels of `linear_cross_entropy` that production launches."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from honed_kernels.aot.variant import Variant
from honed_kernels.triton_kernels.cross_entropy import gradient_kernel, stats_kernel
from honed_kernels.triton_kernels.cross_entropy_plan import Form, form_of
from honed_kernels.triton_kernels.cross_entropy_sums import finish_kernel, settle_kernel
from honed_kernels.triton_kernels.linear_cross_entropy import FINISH_BLOCK, SETTLE_BLOCK

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_FLOATS = ("smoothing", "distillation", "temperature")
_ROOMS = ("room_x", "room_weight", "room_bias")
_INTEGERS = (
    *("batch", "num_labels", "hidden", "x_stride", "ignore_index", "splits"),
    *("size_x", "size_weight", "size_bias", "count_x", "count_weight", *_ROOMS),
)
_SUMS = Form(0, 0, 0, 4, 3)


def variants() -> tuple[Variant, ...]:
    """Every tile with int64 targets alone and (-all) with all options."""
    both = ("", "-all")
    one_tile = [(dtype, labels) for dtype in ("bf16", "fp32") for labels in (32, 64, 128, 256)]
    few = [*(("bf16", labels) for labels in (32, 256, 1024)), ("fp32", 64), ("fp32", 1024)]
    many = [("bf16", 100_000), ("fp32", 100_000)]
    return (
        *(_one_pass(*form, one) for form in one_tile for one in both),
        *(_one_pass(*form) for form in (("fp16", 256, ""), ("bf16", 256, "-odd"))),
        *(_again("again", *form, "-all") for form in few),
        *(_again("again-x", *form, one, **_X) for form in many for one in both),
        *(_again("again-weight", *form, one, **_WEIGHT) for form in many for one in both),
        *(_stats(*form, one) for form in many for one in both),
        _stats("bf16", 1024, "-all"),
        *(_sums(finish_kernel, f"finish/{one}", REDUCTION=one) for one in ("none", "mean")),
        *(_sums(settle_kernel, f"settle/{one}", dtype=one) for one in ("bf16", "fp32")),
    )


_PLAIN = dict.fromkeys(("class_weight", "row_weight", "teacher"))
_X: dict[str, Any] = {"COLUMN_GROUPS": 1, "grad_weight": None, "grad_bias": None}
_WEIGHT: dict[str, Any] = {"COLUMN_GROUPS": 1, "grad_x": None}


def _one_pass(dtype: str, labels: int, options: str) -> Variant:
    known = {"FUSED": True, "COLUMN_GROUPS": 4, "upstream": None}
    return _matrix(gradient_kernel, "one-pass", dtype, labels, options, known)


def _again(kind: str, dtype: str, labels: int, options: str, **constants: Any) -> Variant:
    """With all options also the reduction "none", which has a gradient for each row."""
    upstream = {} if options == "-all" else {"upstream": None}
    known = {"FUSED": False, "COLUMN_GROUPS": 4, **upstream, **constants}
    return _matrix(gradient_kernel, kind, dtype, labels, options, known)


def _stats(dtype: str, labels: int, options: str) -> Variant:
    return _matrix(stats_kernel, "stats", dtype, labels, options, {})


def _matrix(
    kernel: Any, kind: str, dtype: str, labels: int, options: str, constants: dict[str, Any]
) -> Variant:
    every, form = options == "-all", form_of(labels, _DTYPES[dtype])
    known = {**({} if every else _PLAIN), "EVEN": options != "-odd", **constants}
    return _variant(f"{kind}/{dtype}-c{labels}{options}", kernel, dtype, form, known, soft=every)


def _sums(kernel: Any, name: str, *, dtype: str = "fp32", **constants: Any) -> Variant:
    block = FINISH_BLOCK if kernel is finish_kernel else SETTLE_BLOCK
    known = {"TAUGHT": True, "BLOCK": block, **constants}
    return _variant(name, kernel, dtype, _SUMS, known, soft=False)


def _variant(
    name: str, kernel: Any, dtype: str, form: Form, constants: dict[str, Any], *, soft: bool
) -> Variant:
    """A kernel, its argument types found by their names."""
    known = {**asdict(form), "UPCAST": False, **constants}
    constants = {name: value for name, value in known.items() if name in kernel.arg_names}
    prefix = "grad_" if kernel is settle_kernel else ""
    kinds = {
        **dict.fromkeys(_INTEGERS, "i32"),
        **dict.fromkeys(_FLOATS, "fp32"),
        **{f"{prefix}{name}": f"*{dtype}" for name in ("x", "weight", "bias")},
        "target": "*fp32" if soft else "*i64",
        **dict.fromkeys(constants, "constexpr"),
    }
    return Variant(
        f"linear_cross_entropy/{name}",
        kernel,
        {name: kinds.get(name, "*fp32") for name in kernel.arg_names},
        constants,
        form.num_warps,
        form.num_stages,
        matrix=dtype != "fp32" and "UPCAST" in constants,
        divisible=frozenset({"hidden", "x_stride", *_ROOMS}),
    )
