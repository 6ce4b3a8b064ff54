"""The head: what turns a text's vector into probabilities, and all that learning produces.

It stands at the end of both journeys: the instant lane and training make it, versions store it,
the engine serves it. It is data only; `honed_kernels.head` computes with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MAX_FEATURES = 4_096
"""Most random Fourier features of a head: as many as a projection makes."""

_OPEN_SET = ("slope", "offset", "gain")

HeadFault = Literal[
    "shape", "dtype", "not_finite", "duplicate_label", "empty_label", "temperature", "features",
    "threshold", "conformal", "open_set",
]  # fmt: skip


class HeadError(ValueError):
    """A head that must not be served.

    Whoever made or stored the head has a fault: keep the head that serves and look at its source.

    Attributes:
        reason: which rule it breaks, for records and tests.
    """

    def __init__(self, reason: HeadFault, message: str) -> None:
        super().__init__(message)
        self.reason: HeadFault = reason


@dataclass(frozen=True, slots=True)
class Features:
    """Random Fourier features of a vector x, read behind it (Rahimi and Recht 2007).

    phi(x) = sqrt(2 / count) * cos(x @ P[:, :count] / width + b[:count]), with the projection P and
    the phases b that `honed_adapt.instant.features.projection` makes of the seed for all models.

    Attributes:
        count: how many, 1 to `MAX_FEATURES`.
        width: of the Gaussian kernel that they approximate, in the vectors' own lengths; positive.
        seed: of the projection.
    """

    count: int
    width: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class OpenSet:
    """How far a text lies from what was learned, as its vector x and its best label c tell.

    With free energy E and temperature T of the head, the out-of-scope score is

        energy * E / T + square * |x|^2 + x @ slope[c] + offset[c] - gain[c] * logit_c / T

    which is what `honed_adapt.instant.apart` asks for, with all that does not depend on the text
    worked out. It stands beside the head's layers: nothing that computes those needs it.

    Attributes:
        energy: see above; 0 or more.
        square: see above; 0 or more.
        slope: float32 (num_labels, hidden).
        offset: float32 (num_labels,).
        gain: float32 (num_labels,).
    """

    energy: float
    square: float
    slope: NDArray[np.float32]
    offset: NDArray[np.float32]
    gain: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear head: probability = softmax(logits / temperature), logits = z @ weight.T + bias.

    It reads the vector x itself, or with features z = [x, phi(x)].

    A head without labels is legal: it is a model that has learned nothing yet. Heads compare by
    identity. Nobody writes into the arrays after construction: workers read them without a lock.

    Attributes:
        labels: names in the order of the rows of `weight`; distinct and not empty.
        weight: float32 (num_labels, hidden), or (num_labels, hidden + features.count).
        bias: float32 (num_labels,).
        temperature: positive; divides the logits.
        features: what is read beside the vector; None for nothing.
        threshold: out-of-scope score above which a text is out of scope; None where that is not
            known.
        conformal: least probability, 0 to 1, of a label in a prediction set; None where there are
            no sets.
        open_set: makes the out-of-scope score; without it that is the free energy,
            -temperature * logsumexp(logits / temperature) (Liu et al. 2020).
    """

    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float = 1.0
    features: Features | None = None
    threshold: float | None = None
    conformal: float | None = None
    open_set: OpenSet | None = None

    @classmethod
    def empty(cls, hidden: int) -> Head:
        """Return the head without labels for vectors of length `hidden`."""
        return cls((), np.zeros((0, hidden), np.float32), np.zeros(0, np.float32))

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        arrays: Mapping[str, NDArray[np.float32]],
        settings: Mapping[str, Any],
    ) -> Head:
        """Put a head together again; `settings` as the method gives them, or fewer. Validate it.

        Raises:
            KeyError: An array is missing.
            TypeError: The settings are none of a head.
            ValueError: There are more arrays than a head with these settings has.
        """
        rest = dict(arrays)
        weight, bias = rest.pop("weight"), rest.pop("bias")
        features, part = settings.get("features"), settings.get("open_set")
        behind = None if features is None else Features(**features)
        strange = None
        if part is not None:
            slope, offset, gain = (rest.pop(name) for name in _OPEN_SET)
            strange = OpenSet(**part, slope=slope, offset=offset, gain=gain)
        if rest:
            raise ValueError(f"a head has no array {min(rest)!r}")
        made = {**settings, "features": behind, "open_set": strange}
        return cls(labels, weight, bias, **made)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All its arrays by name."""
        part = self.open_set
        behind = {} if part is None else {name: getattr(part, name) for name in _OPEN_SET}
        return {"weight": self.weight, "bias": self.bias, **behind}

    def settings(self) -> dict[str, Any]:
        """All that is neither labels nor array, as JSON keeps it."""
        part = self.open_set
        return {
            "temperature": self.temperature,
            "features": None if self.features is None else asdict(self.features),
            "threshold": self.threshold,
            "conformal": self.conformal,
            "open_set": None if part is None else {"energy": part.energy, "square": part.square},
        }

    @property
    def num_labels(self) -> int:
        """How many labels it knows."""
        return len(self.labels)

    @property
    def hidden(self) -> int:
        """Length of the vectors that it reads."""
        columns: int = self.weight.shape[-1]
        return columns - (self.features.count if self.features else 0)

    def validate(self, hidden: int) -> None:
        """Check that this head may be served behind an encoder whose vectors have length `hidden`.

        Raises:
            HeadError: with the reason named; see `HeadFault`.
        """
        self._validate_numbers()
        if hidden < 1:
            raise HeadError("shape", f"vectors have length {hidden}")
        width = hidden + (self.features.count if self.features else 0)
        shapes = {"weight": (self.num_labels, width), "slope": (self.num_labels, hidden)}
        for name, array in self.arrays().items():
            shape = shapes.get(name, (self.num_labels,))
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

    def _validate_numbers(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise HeadError("temperature", f"temperature is {self.temperature}, expected above 0")
        if self.features:
            count, width = self.features.count, self.features.width
            if not (isinstance(count, int) and 1 <= count <= MAX_FEATURES):
                raise HeadError("features", f"{count} features, expected 1 to {MAX_FEATURES}")
            if not (math.isfinite(width) and width > 0):
                raise HeadError("features", f"width is {width}, expected above 0")
            seed = self.features.seed
            if not (isinstance(seed, int) and 0 <= seed < 2**63):
                raise HeadError("features", f"seed is {seed}, expected 0 to 2^63 - 1")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise HeadError("threshold", f"threshold is {self.threshold}, expected a finite score")
        if self.conformal is not None and not 0 <= self.conformal <= 1:
            raise HeadError("conformal", f"conformal is {self.conformal}, expected 0 to 1")
        if self.open_set is not None:
            for number in (self.open_set.energy, self.open_set.square):
                if not (math.isfinite(number) and number >= 0):
                    raise HeadError("open_set", f"its open set has {number}, expected 0 or more")
