"""Device memory of heads: how a head lies in a slot of fixed size, and how it gets there.

Captured graphs hold the addresses, so this memory never moves or grows; `table.py` decides which
head lies where, and puts a bigger memory in its place. `ops.grouped_head` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from honed_kernels.fourier import Projection

K_ALIGN = 64
"""Rows of weights are padded with zeros to a multiple of this: kernels then load them unmasked."""

LABEL_ALIGN = 16
"""Slots have room for a multiple of so many labels: kernels are compiled for that."""

MAX_LABELS = 4_096
"""One program computes all labels of a row: beyond this `large_head`, which splits them."""


class Field(IntEnum):
    """Columns of the descriptor; floats as the bits of a float32.

    FEATURES counts the columns of the weights that are read.
    """

    NUM_LABELS = 0
    FEATURES = 1
    FRONT = 2
    ACTIVATION = 3
    TEMPERATURE_BITS = 4
    VERSION = 5
    WIDTH_BITS = 6


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
    BESIDE = 5  # the vector itself, padded to `K_ALIGN`, and cosines of a width behind it


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

    A head with F features reads the first F of cos(x @ projection + phase), times sqrt(2 / F). One
    with `HeadWeights.features` reads x as well, and its width divides the product.

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

    @staticmethod
    def of(projection: Projection) -> Cosine:
        """The layer of heads that have features of this projection."""
        return Cosine(projection.matrix.astype(np.float32), projection.phase.astype(np.float32))


class Memory(NamedTuple):
    """The tensors that a kernel reads; their addresses never change.

    Attributes:
        pointers: int32 (models,): slot of the head that answers for each model, -1 for none.
        descriptor: int64 (slots, fields), see `Field`; the temperature as the bits of a float32.
        weight: fp16, bf16 or fp32 (slots, max_labels, width), `max_labels` a multiple of
            `LABEL_ALIGN`. Of a slot only the rows of its labels and the columns of its features,
            rounded up to `K_ALIGN`, are defined. Those of cosines hold their factor sqrt(2 / F).
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
    """The sizes of a memory; growth changes `models`, `slots`, `max_labels` and the cosine layer.

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
        labels = -(-self.max_labels // LABEL_ALIGN) * LABEL_ALIGN
        if self.shared:  # heads may read both
            width = padded(self.hidden) + front_size

        def empty(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        return Memory(
            empty(torch.int32, self.models),
            empty(torch.int64, self.slots, len(Field)),
            empty(self.dtype, self.slots, labels, width),
            empty(torch.float32, self.slots, labels),
            empty(self.dtype, fronts, front_size, padded(self.hidden)),
            empty(torch.float32, fronts, front_size),
        )


def padded(size: int) -> int:
    """`size` rounded up to `K_ALIGN`."""
    return -(-size // K_ALIGN) * K_ALIGN
