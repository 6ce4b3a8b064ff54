"""Random Fourier features: what lets a linear head draw curved borders between labels.

It stands between a text's vector and the head, on both journeys: the lane learns on these
features, the engine computes the same ones when it answers. For a random projection p ~ N(0, 1)
and phase b, sqrt(2 / D) cos(x p / width + b) are D features whose inner products estimate the
Gaussian kernel exp(-|x - y|^2 / (2 width^2)) (Rahimi and Recht, "Random features for large-scale
kernel machines", 2007). Columns that are orthogonal within a block estimate it with less variance
(Yu et al., "Orthogonal random features", 2016).

There is one projection for each vector length and seed, for ever: heads on disk rely on it. So it
comes from the raw bits of a counter-based generator, whose stream no release of numpy changes, and
is rounded to a grid much coarser than what two libraries of mathematics differ by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import MAX_FEATURES, Features

SEED = 20_161
"""The seed of projections that Honed makes itself."""

_GRID = 2.0**12  # steps in 1: values below 8 are whole steps that float32 holds exactly
_STEP = 1 / (1 << 53)  # between two of the numbers that 53 bits make in [0, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Where the features look; a head with fewer features takes the first columns.

    Attributes:
        matrix: float32 (hidden, MAX_FEATURES), entries as from N(0, 1).
        phase: float32 (MAX_FEATURES,), uniform in [0, 2 pi).
    """

    matrix: NDArray[np.float32]
    phase: NDArray[np.float32]


@lru_cache(maxsize=4)
def projection(hidden: int, seed: int = SEED) -> Projection:
    """Return the projection of vectors of length `hidden`; nobody writes into it.

    Args:
        hidden: length of a vector, 1 or more.
        seed: 0 or more.
    """
    bits = np.random.Philox(key=seed)
    phase = 2 * math.pi * _uniform(bits, MAX_FEATURES)
    blocks = [_block(bits, hidden) for _ in range(-(-MAX_FEATURES // hidden))]
    matrix = np.concatenate(blocks, axis=1)[:, :MAX_FEATURES]
    both = Projection(_rounded(matrix), _rounded(phase))
    both.matrix.flags.writeable = both.phase.flags.writeable = False
    return both


def fourier(vectors: NDArray[np.float32], features: Features) -> NDArray[np.float64]:
    """Return the features of vectors (rows, hidden): float64 (rows, features.count).

    In double precision, so that a row which is added in one batch and taken out in another is the
    same row but for 1e-15. Nobody writes into the result.
    """
    if len(vectors) == 1:
        return _lone(vectors.astype(np.float32, copy=False).tobytes(), features)
    return _fourier(vectors, features)


@lru_cache(maxsize=4)
def _lone(vector: bytes, features: Features) -> NDArray[np.float64]:
    """Those of one vector: a label that comes alone votes by its features, then is learned."""
    made = _fourier(np.frombuffer(vector, np.float32)[None], features)
    made.flags.writeable = False
    return made


def _fourier(vectors: NDArray[np.float32], features: Features) -> NDArray[np.float64]:
    matrix, phase = _doubles(vectors.shape[1], features.count, features.seed)
    angles: NDArray[np.float64] = vectors.astype(np.float64) @ matrix
    angles /= features.width
    angles += phase
    np.cos(angles, out=angles)
    angles *= math.sqrt(2 / features.count)
    return angles


def expand(vectors: NDArray[np.float32], features: Features) -> NDArray[np.float64]:
    """Return what a head with these features reads: float64 (rows, hidden + features.count)."""
    return np.concatenate([vectors.astype(np.float64), fourier(vectors, features)], axis=1)


@lru_cache(maxsize=2)
def _doubles(hidden: int, count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first columns of a projection, ready to be multiplied by."""
    whole = projection(hidden, seed)
    return whole.matrix[:, :count].astype(np.float64), whole.phase[:count].astype(np.float64)


def _block(bits: np.random.Philox, hidden: int) -> NDArray[np.float64]:
    """`hidden` orthogonal columns, each as long as one of N(0, 1) entries would be."""
    basis, _ = np.linalg.qr(_normal(bits, (hidden, hidden)))
    lengths = np.sqrt((_normal(bits, (hidden, hidden)) ** 2).sum(axis=0))
    columns: NDArray[np.float64] = basis * lengths
    return columns


def _normal(bits: np.random.Philox, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Standard normal numbers by the transform of Box and Muller (1958)."""
    half = -(-math.prod(shape) // 2)
    radius = np.sqrt(-2 * np.log(_uniform(bits, half)))
    angle = 2 * math.pi * _uniform(bits, half)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    numbers: NDArray[np.float64] = both[: math.prod(shape)].reshape(shape)
    return numbers


def _uniform(bits: np.random.Philox, count: int) -> NDArray[np.float64]:
    """Numbers strictly between 0 and 1, each from the upper 53 of 64 raw bits."""
    raw: NDArray[np.uint64] = bits.random_raw(count)
    upper: NDArray[np.float64] = (raw >> np.uint64(11)).astype(np.float64)
    return (upper + 0.5) * _STEP


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (np.rint(values * _GRID) / _GRID).astype(np.float32)
