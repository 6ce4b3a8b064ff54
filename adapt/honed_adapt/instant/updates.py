"""Parts of a ridge regression: rows whose scores follow what is learned, and updates in waiting.

It stands inside `ridge.py`, which has the maths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.slices import add_product, finish

CHUNK = 64
"""Rows learned in one product, and updates kept beside the base matrix."""


@dataclass(slots=True, eq=False)
class Watch:
    """Rows whose scores follow every label learned, for a fraction of what scoring them costs.

    Attributes:
        keys: their names.
        rows: features, float64 (rows, D).
        values: their scores by slot, float64 (rows, slots).
        leverage: phi^T P phi of each, float64 (rows,).
    """

    keys: list[int]
    rows: Floats
    values: Floats
    leverage: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a regression says of some rows.

    Attributes:
        values: phi^T W_c, float64 (rows, labels).
        leverage: phi^T P phi, float64 (rows,): times its weight, a row's share in its own values.
    """

    values: Floats
    leverage: Floats

    def of(self, kept: NDArray[np.bool_]) -> Scores:
        """The scores of some of the rows."""
        return Scores(self.values[kept], self.leverage[kept])

    def without(
        self, targets: NDArray[np.int64], weights: Floats, shares: Floats | None = None
    ) -> Scores:
        """What would be said of each row, had it not been learned (Allen's PRESS, 1974).

        Args:
            targets: place of each row's label, int64 (rows,).
            weights: what the rows were learned with, float64 (rows,).
            shares: what each row is of each label, (rows, labels), where some are of several.
        """
        own = weights * self.leverage
        if shares is not None:
            values = self.values - own[:, None] * shares
        else:
            values = self.values.copy()
            values[np.arange(len(targets)), targets] -= own
        return Scores(values / (1 - own)[:, None], self.leverage / (1 - own))


class Recent:
    """The last updates of P, not yet written: P = base - sum of m u u^T."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._rows = np.zeros((CHUNK, size))
        self._weights = np.zeros(CHUNK)
        self._towards = np.zeros((CHUNK, size))
        self._core = np.zeros((CHUNK, CHUNK))

    def put(self, rows: Floats, weights: Floats, towards: Floats, core: Floats) -> None:
        """Note rows with P phi of each, as P was before, and the core of their update."""
        new = slice(self.count, self.count + len(rows))
        self._rows[new], self._weights[new] = rows, weights
        self._towards[new], self._core[new, new] = towards, core
        self.count = new.stop

    def correct(self, rows: Floats, towards: Floats) -> Floats:
        """Turn rows @ base into rows @ P."""
        if self.count:
            known = self._towards[: self.count]
            towards -= (rows @ known.T) @ self._core[: self.count, : self.count] @ known
        return towards

    def write(self, gram: Floats, inverse: Floats) -> None:
        """Bring both large matrices up to date."""
        rows, towards = self._rows[: self.count], self._towards[: self.count]
        finish(add_product(gram, rows, rows * self._weights[: self.count, None]))
        core = self._core[: self.count, : self.count]
        finish(add_product(inverse, towards, -core @ towards))
        self.count = 0
        self._core[:] = 0.0
