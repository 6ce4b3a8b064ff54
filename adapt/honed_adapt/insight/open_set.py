"""Which texts look like nothing that was learned: the out-of-scope score and its threshold.

It stands behind calibration. What the score is of is in `honed_adapt.instant.apart`; a head without
an open set has the free energy of its logits (Liu et al. 2020), which is high where no label speaks
for the text. The threshold is a quantile of the scores that known texts have under heads that had
not seen them, so that a stated share of known texts lies above it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.insight.scores import energies
from honed_adapt.instant.calibration import HeldOut
from honed_adapt.instant.discriminant import Floats
from honed_kernels.head import HeadOutput

FALSE_ALARMS = 0.05
"""Share of known texts that may be called out of scope, where no policy says so."""

_LEAST_ALARMS = 2.0  # rows beyond the threshold that it must have been seen to exceed


def scores(
    heads: Sequence[Head],
    head_id: NDArray[np.int64],
    best: NDArray[np.int64],
    probability: NDArray[np.float32],
    energy: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the out-of-scope scores of texts, each by the head that answered it, (rows,).

    Only what differs by label is gathered row by row: a batch may have as many heads as rows.

    Args:
        heads: all that answered.
        head_id: index of each text's among them, (rows,).
        best: index of each text's best label, (rows,).
        probability: of that label, (rows,).
        energy: free energy of each text, (rows,).
        vectors: of the texts, float32 (rows, hidden).
    """
    found, parts = energy.copy(), [head.open_set for head in heads]
    rows = np.flatnonzero(np.array([part is not None for part in parts])[head_id])
    said = zip(head_id[rows].tolist(), best[rows].tolist(), strict=True)
    picked = [(part, label) for at, label in said if (part := parts[at]) is not None]
    if not picked:
        return found
    numbers = np.array([_numbers(head) for head in heads], np.float32)
    temperature, nat, square = numbers[head_id[rows]].T
    slope = np.array([part.slope[label] for part, label in picked])
    offset = np.array([part.offset[label] for part, label in picked])
    gain = np.array([part.gain[label] for part, label in picked])
    texts, over = vectors[rows], energy[rows] / temperature
    near = np.einsum("rh,rh->r", texts, texts * square[:, None] + slope)
    logit = np.log(probability[rows]) - over
    found[rows] = near + offset - gain * logit + nat * over
    return found


def of_batch(
    heads: Sequence[Head],
    head_id: NDArray[np.int64],
    output: HeadOutput,
    vectors: NDArray[np.float32],
) -> list[float]:
    """Return the same for a batch as the engine has it."""
    best = np.fromiter((of[0] for of in output.indices), np.int64, len(head_id))
    odds = np.fromiter((of[0] for of in output.probabilities), np.float32, len(head_id))
    strange: list[float] = scores(heads, head_id, best, odds, output.energy, vectors).tolist()
    return strange


def held_out_scores(head: Head, held_out: HeldOut) -> Floats:
    """Return the same of rows under heads that had not learned them, (rows,).

    Args:
        head: what serves.
        held_out: rows with logits over the temperature of such heads, on the same scale.
    """
    free = energies(held_out.logits)
    if head.open_set is None:
        plain: Floats = head.temperature * free
        return plain
    assert held_out.apart is not None, "rows of a head with an open set have distances"
    found: Floats = held_out.apart(held_out.logits.argmax(axis=1))
    return head.open_set.energy * free + found


def threshold(
    scores: Floats, weights: Floats | None = None, false_alarms: float = FALSE_ALARMS
) -> float | None:
    """Return the score above which a text is out of scope; None with too few rows to say.

    Args:
        scores: of held-out rows, (rows,).
        weights: how much each row counts, (rows,); alike if None.
        false_alarms: share of rows that may lie above, in (0, 1).
    """
    if len(scores) * false_alarms < _LEAST_ALARMS:
        return None
    shares = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores)
    passed = np.cumsum(shares[order]) / shares.sum()
    at = min(int(np.searchsorted(passed, 1 - false_alarms)), len(order) - 1)
    return float(scores[order[at]])


def auroc(known: Floats, strange: Floats) -> float:
    """Return how often a strange text scores above a known one, ties counted half (0 to 1)."""
    together = np.concatenate([known, strange])
    _, inverse, counts = np.unique(together, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[len(known) :].sum() - len(strange) * (len(strange) + 1) / 2
    return float(above / (len(known) * len(strange)))


def _numbers(head: Head) -> tuple[float, float, float]:
    """What a score reads that is the same for all labels: temperature, energy, square."""
    part = head.open_set
    return (1.0, 1.0, 0.0) if part is None else (head.temperature, part.energy, part.square)
