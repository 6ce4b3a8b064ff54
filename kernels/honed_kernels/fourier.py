"""Random Fourier features of pooled vectors, for heads that read them behind the vector.

It stands in front of the product in `head.py`. All heads of an encoder share one projection, so a
batch is projected once, whatever heads its rows pick; widths divide afterwards.

The projection is summed without rounding, so that a row's features are the same to the bit however
many rows are projected at once, and by whatever BLAS: entries are whole multiples of `GRID` below
`BOUND`, a vector is rounded to 28 bits or more of its greatest entry, and what float64 adds up then
are whole numbers below 2^53. A product a row would keep the bits as well; for a batch of 32 it
takes four times as long (docs/decisions/0018-heads-with-features.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID, BOUND = 2.0**-12, 8.0
_ENTRY_BITS = 15  # of an entry of the projection: BOUND / GRID steps


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Where features look; a head reads the first few or all of them.

    Attributes:
        matrix: float64 (hidden, features): multiples of `GRID`, smaller than `BOUND`.
        phase: float64 (features,).

    Raises:
        ValueError: at construction, if shapes, dtypes or entries are not as above.
    """

    matrix: NDArray[np.float64]
    phase: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.phase.shape != self.matrix.shape[1:]:
            raise ValueError(f"{self.matrix.shape} and {self.phase.shape} do not match")
        if self.matrix.dtype != np.float64 or self.phase.dtype != np.float64:
            raise ValueError(f"{self.matrix.dtype} and {self.phase.dtype}: both must be float64")
        steps = self.matrix / GRID
        if not (np.abs(steps) < BOUND / GRID).all() or (steps != np.rint(steps)).any():
            raise ValueError(f"an entry is no multiple of {GRID} below {BOUND}")


@dataclass(frozen=True, slots=True, eq=False)
class Fourier:
    """The features of one head: sqrt(2 / count) * cos(x @ matrix / width + phase).

    They approximate a Gaussian kernel (Rahimi and Recht 2007).

    Attributes:
        projection: of which the first `count` columns are read.
        count: how many features.
        width: of the kernel; positive and finite.

    Raises:
        ValueError: at construction, if the projection has no such columns or the width is no width.
    """

    projection: Projection
    count: int
    width: float

    def __post_init__(self) -> None:
        most = len(self.projection.phase)
        if not 1 <= self.count <= most:
            raise ValueError(f"{self.count} features, the projection makes 1 to {most}")
        if not (math.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width is {self.width}, expected above 0")


def read(
    pooled: NDArray[np.float32], features: Sequence[Fourier | None]
) -> Sequence[NDArray[np.float32]]:
    """What each row's head multiplies: the vector x, or [x, phi(x)] where the head has features.

    Args:
        pooled: float32 (rows, hidden).
        features: of each row's head; their projections take vectors of this length.

    Returns:
        For each row float32 (hidden,) or (hidden + count,).
    """
    inputs = list(pooled)
    for projection in {one.projection for one in features if one}:
        rows = [n for n, one in enumerate(features) if one and one.projection is projection]
        counts = [one.count for one in features if one and one.projection is projection]
        angles = _rounded(pooled[rows]) @ projection.matrix[:, : max(counts)]
        for place, row in enumerate(rows):
            one = features[row]
            assert one is not None, "only rows with features were projected"
            inputs[row] = np.concatenate([pooled[row], _waves(angles[place], one)])
    return inputs


def _rounded(pooled: NDArray[np.float32]) -> NDArray[np.float64]:
    """Vectors in steps of their own so coarse that a sum of products is exact in float64."""
    bits = 53 - _ENTRY_BITS - (pooled.shape[1] - 1).bit_length()
    _, exponent = np.frexp(np.abs(pooled).max(axis=1, keepdims=True))
    step = np.ldexp(1.0, exponent - bits)
    rounded: NDArray[np.float64] = np.rint(pooled / step) * step
    return rounded


def _waves(projected: NDArray[np.float64], features: Fourier) -> NDArray[np.float32]:
    count = features.count
    angles = projected[:count] / features.width + features.projection.phase[:count]
    # NumPy's cosine of float32 does not depend on where an element stands; the other is 20 times
    # slower.
    waves: NDArray[np.float32] = np.cos(angles.astype(np.float32))
    waves *= np.float32(math.sqrt(2 / count))
    return waves
