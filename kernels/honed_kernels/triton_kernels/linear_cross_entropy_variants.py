"""The forms of the kernels of `linear_cross_entropy` that production launches."""

from __future__ import annotations

from typing import Any

import torch

from honed_kernels.aot.variant import Variant
from honed_kernels.triton_kernels.cross_entropy import push_kernel, stats_kernel
from honed_kernels.triton_kernels.cross_entropy_plan import (
    FEW_LABELS,
    form_of,
    products_of,
)
from honed_kernels.triton_kernels.cross_entropy_products import products_kernel
from honed_kernels.triton_kernels.cross_entropy_sums import (
    finish_kernel,
    merge_kernel,
    settle_kernel,
)
from honed_kernels.triton_kernels.linear_cross_entropy import (
    FINISH_BLOCK,
    MERGE_BLOCK,
    MERGE_UNROLLED,
    SETTLE_BLOCK,
)

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_FLOATS = ("smoothing", "distillation", "temperature")
_INTEGERS = (
    *("batch", "num_labels", "hidden", "x_stride", "ignore_index", "first", "width"),
    *("splits", "splits_x", "splits_weight"),
    *("size_x", "size_weight", "size_bias", "count_x", "count_weight"),
)


def variants() -> tuple[Variant, ...]:
    """Every tile with int64 targets alone and (-all) with all options."""
    both = ("", "-all")
    one_tile = [(dtype, labels) for dtype in ("bf16", "fp32") for labels in (32, 64, 128)]
    one_tile.append(("bf16", 256))
    # Of more labels than a tile holds; what is left out has the same form as one of these.
    more = (
        *(("bf16", 1024, one) for one in both),
        *(("fp32", 1024, one) for one in both),
        ("bf16", 100_000, ""),
    )
    odd = (("fp16", 256, ""), ("bf16", 256, "-odd"))
    return (
        *(_logits(stats_kernel, "one-pass", *form, one) for form in one_tile for one in both),
        *(_logits(stats_kernel, "one-pass", *form) for form in odd),
        *(_logits(stats_kernel, "stats", *form, push=None) for form in more),
        *(_logits(push_kernel, "push", *form) for form in (("bf16", 32, "-all"), *more)),
        *(_products(dtype, labels) for dtype in _DTYPES for labels in (1024, 100_000)),
        _sums(merge_kernel, "merge"),
        *(_sums(finish_kernel, f"finish/{one}", REDUCTION=one) for one in ("none", "mean")),
        *(_sums(settle_kernel, f"settle/{one}", dtype=one) for one in ("bf16", "fp32")),
    )


def _logits(
    kernel: Any, kind: str, dtype: str, labels: int, options: str, **constants: Any
) -> Variant:
    """With all options also the reduction "none", which has a gradient for each row."""
    every = options == "-all"
    form = form_of(labels, _DTYPES[dtype], full=every)
    plain = {} if every else dict.fromkeys(("class_weight", "row_weight", "teacher", "upstream"))
    known = {**form._asdict(), **plain, "EVEN": options != "-odd", **constants}
    kinds = dict.fromkeys(("x", "weight", "bias", "push", "clean"), f"*{dtype}")
    kinds["target"] = "*fp32" if every else "*i64"
    name = f"{kind}/{dtype}-c{labels}{options}"
    return _variant(name, kernel, kinds, {**known, "UPCAST": False}, matrix=dtype != "fp32")


def _products(dtype: str, labels: int) -> Variant:
    """As training of so many labels has it: all gradients, that of x of many labels in parts."""
    many = labels > FEW_LABELS
    known = {**products_of(labels, _DTYPES[dtype])._asdict(), "SUMMED": many, "UPCAST": False}
    names = ("push", "clean", "weight", "grad_x", "grad_weight", "grad_bias")
    kinds = dict.fromkeys(names, f"*{dtype}")
    if many:
        kinds["grad_x"] = "*fp32"
    name = f"products/{dtype}-c{labels}"
    return _variant(name, products_kernel, kinds, known, matrix=dtype != "fp32")


def _sums(kernel: Any, name: str, *, dtype: str = "fp32", **constants: Any) -> Variant:
    blocks = {merge_kernel: MERGE_BLOCK, finish_kernel: FINISH_BLOCK, settle_kernel: SETTLE_BLOCK}
    known = {"TAUGHT": True, "UNROLLED": MERGE_UNROLLED, "BLOCK": blocks[kernel], **constants}
    grads = ("grad_x", "grad_weight", "grad_bias") if kernel is settle_kernel else ()
    kinds = {"target": "*i64", **dict.fromkeys(grads, f"*{dtype}")}
    return _variant(
        name,
        kernel,
        kinds,
        {"num_warps": 1 if kernel is merge_kernel else 4, **known},
        matrix=False,
    )


def _variant(
    name: str, kernel: Any, kinds: dict[str, str], known: dict[str, Any], *, matrix: bool
) -> Variant:
    """A kernel, its other argument types found by their names."""
    constants = {name: value for name, value in known.items() if name in kernel.arg_names}
    kinds = {
        **dict.fromkeys(_INTEGERS, "i32"),
        **dict.fromkeys(_FLOATS, "fp32"),
        **kinds,
        **dict.fromkeys(constants, "constexpr"),
    }
    return Variant(
        f"linear_cross_entropy/{name}",
        kernel,
        {name: kinds.get(name, "*fp32") for name in kernel.arg_names},
        constants,
        known["num_warps"],
        3,
        matrix=matrix,
        divisible=frozenset({"hidden", "x_stride", "width", "size_x", "size_weight"}),
    )
