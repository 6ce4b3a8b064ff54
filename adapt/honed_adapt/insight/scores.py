"""How far probabilities can be trusted: expected calibration error, Brier score, intervals.

It stands beside learning: the lane scores what it held out, the server what was audited. Pure;
float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.discriminant import Floats

_BINS = 15
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the probabilities of some rows are off.

    Attributes:
        error: expected calibration error, 0 to 1 (Guo et al. 2017; 15 bins of equal width); below
            0 if there are no rows, since 0 is that of perfect probabilities.
        brier: mean squared distance of the probabilities from the right label, 0 to 2; below 0 as
            well.
        rows: rows behind the two.
    """

    error: float
    brier: float
    rows: int


UNKNOWN = Calibration(-1.0, -1.0, 0)
"""That of no rows."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of some answers were right, with a 95 % interval (E. B. Wilson, 1927)."""

    right: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; 0 and 1 without answers."""
        if not self.total:
            return 0.0, 1.0
        n, share, z = self.total, self.right / self.total, _Z95
        centre = share + z * z / (2 * n)
        spread = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        # At either end the formula gives 0 or 1 but for its last bit.
        low = (centre - spread) / scale if self.right else 0.0
        return low, (centre + spread) / scale if self.right < n else 1.0


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the probabilities of logits (rows, labels)."""
    scaled = (logits - logits.max(axis=1, keepdims=True, initial=-np.inf)) / temperature
    odds: Floats = np.exp(scaled)
    odds /= odds.sum(axis=1, keepdims=True)
    return odds


def energies(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the free energy of each row, -T log sum exp(logit / T), (rows,) (Liu et al. 2020)."""
    highest = logits.max(axis=1)
    rest = np.exp((logits - highest[:, None]) / temperature).sum(axis=1)
    energy: Floats = -highest - temperature * np.log(rest)
    return energy


def calibration(
    probabilities: Floats, targets: NDArray[np.int64], weights: Floats | None = None
) -> Calibration:
    """Score the probabilities of rows by their labels.

    Args:
        probabilities: float64 (rows, labels), of heads that had not seen the row.
        targets: index of each row's label, (rows,).
        weights: how much each row counts, (rows,); alike if None.
    """
    rows = len(targets)
    if not rows:
        return UNKNOWN
    shares = np.full(rows, 1.0) if weights is None else weights
    shares = shares / shares.sum()
    best = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    right = (best == targets).astype(np.float64)
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, shares * (right - confidence), _BINS)
    own = probabilities[np.arange(rows), targets]
    squares = (probabilities**2).sum(axis=1) - 2 * own + 1
    return Calibration(float(np.abs(gaps).sum()), float(shares @ squares), rows)
