"""One kernel as production launches it: what the ahead-of-time compiler is asked to build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A kernel with one choice of types and tile.

    Attributes:
        name: `op/kernel/what-distinguishes-it`, such as "grouped_head/score/fp16-c256".
        kernel: what `triton.jit` made.
        signature: each argument's type in order, such as {"x": "*fp16", "rows": "i32", "TILE":
            "constexpr"}. A pointer is taken as divisible by 16 bytes, as PyTorch allocates.
        constants: values of the constexpr arguments.
        num_warps: warps of a program.
        num_stages: depth of the software pipeline.
        matrix: whether tensor-core instructions must appear.
        divisible: integer arguments that production passes as multiples of 16.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    num_warps: int
    num_stages: int
    matrix: bool = False
    divisible: frozenset[str] = field(default_factory=frozenset)
