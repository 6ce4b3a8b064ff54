"""Large matrices in small steps: sums and inverses that give way to whoever waits.

It stands below `ridge.py`. What takes seconds is a generator that yields every few milliseconds,
so that labels go on being learned in between. Float64; symmetric matrices throughout, in full.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np

from honed_adapt.instant.discriminant import Floats

T = TypeVar("T")

Slices = Generator[None, None, None]
"""Work in slices of some tens of milliseconds: each `next` does one."""

BLOCK = 256
"""Rows of a matrix that one slice works on."""


def finish(slices: Generator[None, None, T]) -> T:
    """Do all slices at once; returns what they come to."""
    while True:
        try:
            next(slices)
        except StopIteration as done:
            result: T = done.value
            return result


def blocks(size: int) -> list[slice]:
    """Return the slices that cut `size` rows into blocks."""
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def add_product(matrix: Floats, left: Floats, right: Floats) -> Slices:
    """Add left^T @ right to a symmetric matrix (D, D); both are (rows, D)."""
    for part in blocks(len(matrix)):
        matrix[part] += left[:, part].T @ right
        yield


def add_square(matrix: Floats, rows: Floats, weights: Floats) -> Slices:
    """Add sum of w r r^T to the upper triangle of blocks of a matrix (D, D); see `mirror`."""
    weighted = rows * weights[:, None]
    for part in blocks(len(matrix)):
        matrix[part, part.start :] += weighted[:, part].T @ rows[:, part.start :]
        yield


def mirror(matrix: Floats) -> Slices:
    """Copy the upper triangle of blocks below the diagonal."""
    for part in blocks(len(matrix)):
        matrix[part.stop :, part] = matrix[part, part.stop :].T
        yield


def invert(matrix: Floats) -> Slices:
    """Invert a positive definite matrix (D, D) in place.

    By bordering (Frobenius and Schur; Guttman, 1946): with the inverse P of the leading block, the
    next columns B, C below them, Y = P B and the Schur complement S = C - B^T Y, the inverse of
    both is [[P + Y S^-1 Y^T, -Y S^-1], [., S^-1]].
    """
    for new in blocks(len(matrix)):
        known = blocks(new.start)
        border = matrix[: new.start, new].copy()
        solved = np.empty_like(border)
        for part in known:
            solved[part] = matrix[part, : new.start] @ border
            yield
        corner = np.linalg.inv(matrix[new, new] - border.T @ solved)
        corner = (corner + corner.T) / 2
        outer = solved @ corner
        for part in known:
            matrix[part, : new.start] += outer[part] @ solved.T
            matrix[part, new] = -outer[part]
            matrix[new, part] = -outer[part].T
            yield
        matrix[new, new] = corner
        yield
