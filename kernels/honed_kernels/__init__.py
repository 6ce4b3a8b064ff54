"""Fused classification heads: the references, the NumPy path and the Triton kernels."""
