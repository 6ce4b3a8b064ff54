"""How a head gets into device memory: laid out on the host as in a slot, then copied.

It stands between `table.py`, which decides when and where, and `memory.py`, which says how a head
lies in a slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from honed_kernels.fourier import Projection
from honed_kernels.head import HeadWeights
from honed_kernels.memory import MAX_LABELS, Activation, Cosine, Dense, Front, Memory, Shape, padded

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-30, 1e30  # so that energies are finite in float32


class Staged(NamedTuple):
    """A head on the host, laid out as in a slot: columns of `Memory` after the pointers."""

    descriptor: Tensor
    weight: Tensor
    bias: Tensor
    front_weight: Tensor | None
    front_bias: Tensor | None


def stage(
    shape: Shape,
    head: HeadWeights,
    *,
    version: int,
    activation: Literal["softmax", "sigmoid"],
    front: Dense | Literal["cosine"] | None,
    pin: bool,
) -> Staged:
    """Lay a head out for every memory that grows from this shape; `pin` for an asynchronous copy.

    Raises:
        ValueError: if the head fits behind neither the encoder nor the layer in front, or its
            numbers do not fit `shape.dtype`.
    """
    _check(shape, head, front)
    if activation not in ("softmax", "sigmoid"):
        raise ValueError(f"activation is {activation!r}, expected softmax or sigmoid")
    kind, front_weight, front_bias = Front.NONE, None, None
    matrix, width = head.weight, 1.0
    if head.features:
        kind, width = Front.BESIDE, head.features.width
        direct, waves = np.split(matrix, [shape.hidden], axis=1)
        gap = np.zeros((len(matrix), padded(shape.hidden) - shape.hidden), np.float32)
        matrix = np.concatenate([direct, gap, _scaled(waves)], axis=1)
    elif front == "cosine":
        kind, matrix = Front.COSINE, _scaled(matrix)
    elif front is not None:
        kind = Front[front.activation.upper()]
        front_weight, front_bias = stage_front(shape, front.weight, front.bias, pin=pin)
    temperature = np.float32(np.clip(head.temperature, _MIN_TEMPERATURE, _MAX_TEMPERATURE))
    num_labels, features = matrix.shape
    code = Activation[activation.upper()]
    descriptor = [num_labels, features, kind, code, _bits(temperature), version, _bits(width)]
    return Staged(
        on_host(torch.tensor(descriptor), pin=pin),
        _filled(matrix, num_labels, shape.dtype, pin=pin),
        on_host(torch.tensor(head.bias), pin=pin),
        front_weight,
        front_bias,
    )


def stage_front(
    shape: Shape, weight: NDArray[np.float32], bias: NDArray[np.float32], *, pin: bool
) -> tuple[Tensor, Tensor]:
    """Lay out a layer in front, weight (size, hidden): see `Memory`."""
    size = padded(shape.front_size)
    vector = torch.zeros(size)
    vector[: len(bias)] = torch.tensor(bias)
    return _filled(weight, size, shape.dtype, pin=pin), on_host(vector, pin=pin)


def on_host(tensor: Tensor, *, pin: bool) -> Tensor:
    """The tensor where a GPU reads it without the host's help, if `pin`; a copy of it then.

    All that is copied to a device passes here: PyTorch pins no tensor that it makes from NumPy's.
    """
    return tensor.pin_memory() if pin else tensor


def write(memory: Memory, slot: int, head: Staged) -> None:
    """Queue the copies of a head into a slot."""
    labels, features = head.weight.shape
    memory.descriptor[slot].copy_(head.descriptor, non_blocking=True)
    memory.weight[slot, :labels, :features].copy_(head.weight, non_blocking=True)
    memory.bias[slot, :labels].copy_(head.bias, non_blocking=True)
    if head.front_weight is not None and head.front_bias is not None:
        memory.front_weight[slot].copy_(head.front_weight, non_blocking=True)
        memory.front_bias[slot].copy_(head.front_bias, non_blocking=True)


def move(memory: Memory, slot: int, source: Memory, source_slot: int) -> None:
    """Queue the copies of a slot of a smaller memory on the same device."""
    labels, width = source.weight.shape[1:]
    memory.descriptor[slot].copy_(source.descriptor[source_slot])
    memory.weight[slot, :labels, :width].copy_(source.weight[source_slot])
    memory.bias[slot, :labels].copy_(source.bias[source_slot])
    if len(memory.front_weight) and not memory.shared:
        memory.front_weight[slot].copy_(source.front_weight[source_slot])
        memory.front_bias[slot].copy_(source.front_bias[source_slot])


def _check(shape: Shape, head: HeadWeights, front: Dense | Literal["cosine"] | None) -> None:
    num_labels, features = len(head.bias), head.hidden
    if not 1 <= num_labels <= MAX_LABELS:
        raise ValueError(f"the head has {num_labels} labels, expected 1 to {MAX_LABELS}")
    if np.isnan(head.bias).any() or np.isposinf(head.bias).any():
        raise ValueError("the bias holds NaN or infinity; only -inf, a label switched off, may be")
    allowed: Sequence[int] = [shape.hidden]
    if head.features and front is not None:
        raise ValueError("a head with features reads vectors, not what another layer makes of them")
    if front == "cosine":
        if not shape.shared:
            raise ValueError("the table has no cosine layer; make it with front=Cosine(...)")
        allowed = range(1, shape.front_size + 1)
    elif front is not None:
        size, hidden = front.weight.shape
        if shape.shared or size > shape.front_size:
            raise ValueError(f"the table has no dense layers of {size}; make it with front={size}")
        if hidden != shape.hidden:
            raise ValueError(f"the dense layer takes {hidden} features, not {shape.hidden}")
        allowed = [size]
    if features not in allowed:
        raise ValueError(f"the head takes {features} features, not {allowed[-1]}")


def _scaled(waves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of cosines with the factor of random Fourier features, which kernels leave out."""
    return waves * np.float32(math.sqrt(2 / waves.shape[1]))


def _bits(value: float | np.float32) -> int:
    return int(np.float32(value).view(np.int32))


def _filled(matrix: NDArray[np.float32], rows: int, dtype: torch.dtype, *, pin: bool) -> Tensor:
    """The matrix with zeros below, and to the right up to `K_ALIGN`."""
    out = torch.zeros((rows, padded(matrix.shape[1])), dtype=dtype)
    out[: matrix.shape[0], : matrix.shape[1]] = torch.tensor(matrix)
    if not out.isfinite().all():
        raise ValueError(f"the weights are not finite in {dtype}; try bfloat16 or float32")
    return on_host(out, pin=pin)


class Layer:
    """The cosine layer of a table: given, or that of the first head with features, or none yet."""

    def __init__(self, front: Cosine | Projection | int | None, hidden: int) -> None:
        self._projection = front if isinstance(front, Projection) else None
        self._cosine = Cosine.of(front) if isinstance(front, Projection) else None
        self._cosine = front if isinstance(front, Cosine) else self._cosine
        self._other = not self._cosine and bool(front)
        if self._cosine and len(self._cosine.projection) != hidden:
            raise ValueError(f"projection {self._cosine.projection.shape}, not from {hidden}")

    def size(self, features: int) -> int:
        """Outputs of a layer for heads with so many features, doubling as they grow."""
        assert self._cosine is not None, "`adopt` comes first"
        return min(1 << (features - 1).bit_length(), len(self._cosine.phase))

    def takes(self, head: HeadWeights) -> bool:
        """Whether the head's features, if it has any, are or may become this layer's."""
        if not head.features or head.features.projection is self._projection:
            return True
        return self._projection is None and self._cosine is None and not self._other

    def adopt(self, head: HeadWeights) -> None:
        """Become the layer of a head that it takes, unless it is one already."""
        if head.features and self._cosine is None:
            self._projection = head.features.projection
            self._cosine = Cosine.of(self._projection)

    def stage(self, shape: Shape, *, pin: bool) -> tuple[Tensor, Tensor] | None:
        """What a memory of this shape holds of it; None for nothing."""
        if self._cosine is None or not shape.front_size:
            return None
        size = shape.front_size
        weight, bias = self._cosine.projection[:, :size].T, self._cosine.phase[:size]
        return stage_front(shape, weight, bias, pin=pin)
