"""Device memory of heads: how a head lies in a slot of fixed size, and how it gets there.

Captured graphs hold the addresses, so this memory never moves or grows; `table.py` decides which
head lies where, and puts a bigger memory in its place. `ops.grouped_head` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from honed_kernels.head import HeadWeights

K_ALIGN = 64
"""Rows of weights are padded with zeros to a multiple of this: kernels then load them unmasked."""

MAX_LABELS = 4_096
"""One program computes all labels of a row: beyond this `large_head`, which splits them."""

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 2.0**-126, 2.0**126  # the normal range of float32


class Field(IntEnum):
    """Columns of the descriptor."""

    NUM_LABELS = 0
    FEATURES = 1
    FRONT = 2
    ACTIVATION = 3
    TEMPERATURE_BITS = 4
    VERSION = 5


class Activation(IntEnum):
    """What turns logits into probabilities."""

    SOFTMAX = 0
    SIGMOID = 1


class Front(IntEnum):
    """What stands between the pooled vector and a head's linear layer."""

    NONE = 0
    TANH = 1
    GELU = 2
    RELU = 3
    COSINE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A head's own layer in front of its linear layer: activation(x @ weight.T + bias).

    Attributes:
        weight: float32 (size, hidden).
        bias: float32 (size,).
        activation: "gelu" is the exact one, by erf.

    Raises:
        ValueError: at construction, if the shapes do not match or the activation is another.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Literal["tanh", "gelu", "relu"]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"weight {self.weight.shape} and bias {self.bias.shape} do not match")
        if self.activation not in ("tanh", "gelu", "relu"):
            raise ValueError(f"activation is {self.activation!r}, expected tanh, gelu or relu")


@dataclass(frozen=True, slots=True, eq=False)
class Cosine:
    """Random Fourier features, shared by all heads of an encoder (Rahimi and Recht, 2007).

    A head with F features reads the first F of cos(x @ projection + phase), times sqrt(2 / F).

    Attributes:
        projection: float32 (hidden, features).
        phase: float32 (features,).

    Raises:
        ValueError: at construction, if the shapes do not match.
    """

    projection: NDArray[np.float32]
    phase: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.projection.ndim != 2 or self.phase.shape != self.projection.shape[1:]:
            raise ValueError(f"{self.projection.shape} and {self.phase.shape} do not match")


class Memory(NamedTuple):
    """The tensors that a kernel reads; their addresses never change.

    Attributes:
        pointers: int32 (models,): slot of the head that answers for each model, -1 for none.
        descriptor: int64 (slots, fields), see `Field`; the temperature as the bits of a float32.
        weight: fp16, bf16 or fp32 (slots, max_labels, width). Of a slot only the rows of its labels
            and the columns of its features, rounded up to `K_ALIGN`, are defined.
        bias: fp32 (slots, max_labels).
        front_weight: dtype of weight, (slots, size, width) for dense layers, (1, size, width) for
            the shared cosine layer, (0, 0, width) for none; padded with zeros to `K_ALIGN`.
        front_bias: fp32 (slots, 1 or 0, size).
    """

    pointers: Tensor
    descriptor: Tensor
    weight: Tensor
    bias: Tensor
    front_weight: Tensor
    front_bias: Tensor

    @property
    def shared(self) -> bool:
        """Whether the layer in front is one for all heads; `Shape` has at least two slots."""
        return len(self.front_weight) == 1


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a memory; growth changes only `models`, `slots` and `max_labels`.

    Attributes:
        hidden: length of a pooled vector.
        models: how many models may have a number.
        slots: how many heads fit, at least 2: the one that answers and the next.
        max_labels: how many labels a head may have.
        front_size: outputs of the layer in front, 0 for none.
        shared: whether that layer is the cosine one, shared by all heads.
        dtype: of the weights.

    Raises:
        ValueError: at construction, if a size or the dtype is not possible.
    """

    hidden: int
    models: int
    slots: int
    max_labels: int
    front_size: int
    shared: bool
    dtype: torch.dtype

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("models", 1), ("slots", 2), ("max_labels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.front_size < 0:
            raise ValueError(f"the layer in front has size {self.front_size}")
        if self.max_labels > MAX_LABELS:
            raise ValueError(f"max_labels is {self.max_labels}, above {MAX_LABELS}: use large_head")
        if self.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise ValueError(f"dtype is {self.dtype}, expected float16, bfloat16 or float32")

    def allocate(self, device: torch.device) -> Memory:
        """Return memory of undefined content."""
        fronts = 0 if not self.front_size else 1 if self.shared else self.slots
        front_size, width = padded(self.front_size), padded(max(self.hidden, self.front_size))

        def empty(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        return Memory(
            empty(torch.int32, self.models),
            empty(torch.int64, self.slots, len(Field)),
            empty(self.dtype, self.slots, self.max_labels, width),
            empty(torch.float32, self.slots, self.max_labels),
            empty(self.dtype, fronts, front_size, padded(self.hidden)),
            empty(torch.float32, fronts, front_size),
        )


def padded(size: int) -> int:
    """`size` rounded up to `K_ALIGN`."""
    return -(-size // K_ALIGN) * K_ALIGN


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
    if front == "cosine":
        kind = Front.COSINE
    elif front is not None:
        kind = Front[front.activation.upper()]
        front_weight, front_bias = stage_front(shape, front.weight, front.bias, pin=pin)
    temperature = np.float32(np.clip(head.temperature, _MIN_TEMPERATURE, _MAX_TEMPERATURE))
    bits = int(temperature.view(np.int32))
    num_labels, features = head.weight.shape
    code = Activation[activation.upper()]
    descriptor = [num_labels, features, kind, code, bits, version]
    return Staged(
        torch.tensor(descriptor, dtype=torch.int64, pin_memory=pin),
        _filled(head.weight, num_labels, shape.dtype, pin=pin),
        torch.tensor(head.bias, pin_memory=pin),
        front_weight,
        front_bias,
    )


def stage_front(
    shape: Shape, weight: NDArray[np.float32], bias: NDArray[np.float32], *, pin: bool
) -> tuple[Tensor, Tensor]:
    """Lay out a layer in front, weight (size, hidden): see `Memory`."""
    size = padded(shape.front_size)
    matrix = _filled(weight, size, shape.dtype, pin=pin)
    vector = torch.zeros(size, pin_memory=pin)
    vector[: len(bias)] = torch.tensor(bias)
    return matrix, vector


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
    labels = source.weight.shape[1]
    memory.descriptor[slot].copy_(source.descriptor[source_slot])
    memory.weight[slot, :labels].copy_(source.weight[source_slot])
    memory.bias[slot, :labels].copy_(source.bias[source_slot])
    if len(memory.front_weight) and not memory.shared:
        memory.front_weight[slot].copy_(source.front_weight[source_slot])
        memory.front_bias[slot].copy_(source.front_bias[source_slot])


def _check(shape: Shape, head: HeadWeights, front: Dense | Literal["cosine"] | None) -> None:
    num_labels, features = head.weight.shape
    if not 1 <= num_labels <= MAX_LABELS:
        raise ValueError(f"the head has {num_labels} labels, expected 1 to {MAX_LABELS}")
    if np.isnan(head.bias).any() or np.isposinf(head.bias).any():
        raise ValueError("the bias holds NaN or infinity; only -inf, a label switched off, may be")
    allowed: Sequence[int] = [shape.hidden]
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


def _filled(matrix: NDArray[np.float32], rows: int, dtype: torch.dtype, *, pin: bool) -> Tensor:
    """The matrix with zeros below, and to the right up to `K_ALIGN`."""
    out = torch.zeros((rows, padded(matrix.shape[1])), dtype=dtype, pin_memory=pin)
    out[: matrix.shape[0], : matrix.shape[1]] = torch.tensor(matrix)
    if not out.isfinite().all():
        raise ValueError(f"the weights are not finite in {dtype}; try bfloat16 or float32")
    return out
