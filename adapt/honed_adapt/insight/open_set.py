"""Which texts look like nothing that was learned: the threshold of the out-of-scope score.

It stands behind calibration. The score is the free energy of the head's logits (Liu et al. 2020):
high where no label speaks for the text. The threshold is a quantile of the energies that known
texts have under heads that had not seen them, so that a stated share of known texts lies above it.
Pure; float64.
"""

from __future__ import annotations

import numpy as np

from honed_adapt.instant.discriminant import Floats

FALSE_ALARMS = 0.05
"""Share of known texts that may be called out of scope, where no policy says so."""

_LEAST_ALARMS = 2.0  # rows beyond the threshold that it must have been seen to exceed


def threshold(
    energies: Floats, weights: Floats | None = None, false_alarms: float = FALSE_ALARMS
) -> float | None:
    """Return the energy above which a text is out of scope; None with too few rows to say.

    Args:
        energies: of held-out rows, (rows,).
        weights: how much each row counts, (rows,); alike if None.
        false_alarms: share of rows that may lie above, in (0, 1).
    """
    if len(energies) * false_alarms < _LEAST_ALARMS:
        return None
    shares = np.ones(len(energies)) if weights is None else weights
    order = np.argsort(energies)
    passed = np.cumsum(shares[order]) / shares.sum()
    at = min(int(np.searchsorted(passed, 1 - false_alarms)), len(order) - 1)
    return float(energies[order[at]])


def auroc(known: Floats, strange: Floats) -> float:
    """Return how often a strange text scores above a known one, ties counted half (0 to 1)."""
    together = np.concatenate([known, strange])
    _, inverse, counts = np.unique(together, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[len(known) :].sum() - len(strange) * (len(strange) + 1) / 2
    return float(above / (len(known) * len(strange)))
