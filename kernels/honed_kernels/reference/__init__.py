"""The specification of every op in plain PyTorch, one module an op: nothing clever.

Every fast path is tested against it, usually in float64. It is also the path of CPU tensors.
Importing it loads torch; the CPU server never does.
"""
