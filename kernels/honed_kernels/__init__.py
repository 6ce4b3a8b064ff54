"""Fused classification heads: the reference, the NumPy path and (later) the Triton kernels."""
