"""Which path an op takes: Triton on a GPU, plain PyTorch elsewhere.

Every door in `ops` asks here, at each call and by the tensor's device, never at import.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels on the CPU (`TRITON_INTERPRET=1`)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def runs_triton(tensor: Tensor) -> bool:
    """Whether the op on this tensor is a Triton kernel; else it is `reference`."""
    return (tensor.is_cuda or interpreted()) and _has_triton()


def compilations() -> int:
    """How many kernels Triton has compiled, or loaded from its cache, since it was first needed.

    A server that is ready sees this number stand still.
    """
    kernels = sys.modules.get("honed_kernels.triton_kernels")
    return 0 if kernels is None else len(kernels.compiled)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
