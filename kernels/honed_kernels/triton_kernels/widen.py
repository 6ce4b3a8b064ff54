"""Device functions that every kernel with a matrix product shares.

Triton's interpreter computes with bfloat16 wrongly and without a word, so there (`UPCAST`) every
value is widened to float32 before any arithmetic. A product of two bfloat16 or float16 numbers is
exact in float32, so the result is what tensor cores compute, up to the order of summation.
"""

import triton
import triton.language as tl


@triton.jit
def widen(x, UPCAST: tl.constexpr):
    """`x`, in float32 when the interpreter runs; compiled, the very same `x`."""
    if UPCAST:
        return x.to(tl.float32)
    return x


@triton.jit
def dot(a, b, total, UPCAST: tl.constexpr):
    """Add a @ b to `total`, summed in float32; float32 operands keep all their bits (no TF32)."""
    return tl.dot(widen(a, UPCAST), widen(b, UPCAST), total, input_precision="ieee")
