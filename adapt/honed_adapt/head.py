"""The head: what turns a text's vector into probabilities, and all that learning produces.

It stands at the end of both journeys: the instant lane and training make it, versions store it,
the engine serves it. It is data only; `honed_kernels.head` computes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

HeadFault = Literal["shape", "dtype", "not_finite", "duplicate_label", "empty_label", "temperature"]


class HeadError(ValueError):
    """A head that must not be served.

    Whoever made or stored the head has a fault: keep the head that serves and look at its source.

    Attributes:
        reason: which rule it breaks, for records and tests.
    """

    def __init__(self, reason: HeadFault, message: str) -> None:
        super().__init__(message)
        self.reason: HeadFault = reason


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear head: probability = softmax((x @ weight.T + bias) / temperature).

    A head without labels is legal: it is a model that has learned nothing yet. Heads compare by
    identity. Nobody writes into the arrays after construction: workers read them without a lock.

    Attributes:
        labels: names in the order of the rows of `weight`; distinct and not empty.
        weight: float32 (num_labels, hidden).
        bias: float32 (num_labels,).
        temperature: positive; divides the logits.
    """

    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float = 1.0

    @classmethod
    def empty(cls, hidden: int) -> Head:
        """Return the head without labels for vectors of length `hidden`."""
        return cls((), np.zeros((0, hidden), np.float32), np.zeros(0, np.float32))

    @property
    def num_labels(self) -> int:
        """How many labels it knows."""
        return len(self.labels)

    def validate(self, hidden: int) -> None:
        """Check that this head may be served behind an encoder with `hidden` features.

        Raises:
            HeadError: with the reason named; see `HeadFault`.
        """
        for name, array, shape in (
            ("weight", self.weight, (self.num_labels, hidden)),
            ("bias", self.bias, (self.num_labels,)),
        ):
            if array.shape != shape:
                raise HeadError("shape", f"{name} has shape {array.shape}, expected {shape}")
            if array.dtype != np.float32:
                raise HeadError("dtype", f"{name} is {array.dtype}, expected float32")
            if not np.isfinite(array).all():
                raise HeadError("not_finite", f"{name} holds NaN or infinity")
        if "" in self.labels:
            raise HeadError("empty_label", "a label has no name")
        if len(set(self.labels)) != self.num_labels:
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise HeadError("duplicate_label", f"label {twice!r} appears more than once")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise HeadError("temperature", f"temperature is {self.temperature}, expected above 0")
