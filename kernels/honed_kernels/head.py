"""The grouped head: pooled vectors in, the best labels of each row's own head out.

It is the last step of the predict journey, after the encoder: a batch holds rows of many models,
and each row picks its head. This is the NumPy path for the CPU; `reference.py` specifies it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_kernels.fourier import Fourier, read
from honed_kernels.ranking import best_of, softmax

_Floats = NDArray[np.float32]
_Integers = NDArray[np.int64]

_NO_INDICES, _NO_SCORES = np.empty(0, np.int64), np.empty(0, np.float32)


class HeadNotFinite(ArithmeticError):
    """A head's logits overflowed or are not numbers; no row of the batch is answered.

    Served heads are checked to be finite, so look for an extreme weight or a broken encoder.

    Attributes:
        head_id: index of the head in `heads`.
    """

    def __init__(self, head_id: int) -> None:
        super().__init__(f"head {head_id} computed logits that are not finite")
        self.head_id = head_id


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class HeadWeights:
    """What a row is multiplied with: probability = softmax((x @ weight.T + bias) / temperature).

    Attributes:
        weight: float32 (num_labels, hidden), or with features (num_labels, hidden + count).
        bias: float32 (num_labels,).
        temperature: positive and finite.
        features: what is read behind the vector x.

    Raises:
        ValueError: at construction, if shapes, dtypes or temperature are not as above.
    """

    weight: _Floats
    bias: _Floats
    temperature: float = 1.0
    features: Fourier | None = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"weight {self.weight.shape} and bias {self.bias.shape} do not match")
        if self.weight.dtype != np.float32 or self.bias.dtype != np.float32:
            raise ValueError(f"{self.weight.dtype} and {self.bias.dtype}: both must be float32")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}, expected above 0")

    @property
    def hidden(self) -> int:
        """Length of the vectors that it takes."""
        columns: int = self.weight.shape[1]
        return columns - (self.features.count if self.features else 0)


@dataclass(frozen=True, slots=True, eq=False)
class HeadOutput:
    """One entry per row of the batch, in its order.

    Attributes:
        indices: int64 (min(top_k, num_labels),) each: label indices, best first.
        probabilities: float32, the same lengths: their probabilities, never rising.
        energy: float32 (rows,): -T * logsumexp(logits / T), low for what resembles the training
            data (Liu et al. 2020).
        logits: float32 (num_labels,) each, before temperature; None if not asked for.
    """

    indices: list[_Integers]
    probabilities: list[_Floats]
    energy: _Floats
    logits: list[_Floats] | None


def grouped_head(
    pooled: _Floats,
    head_id: NDArray[np.integer],
    heads: Sequence[HeadWeights],
    *,
    top_k: int | Sequence[int] = 1,
    logits: bool = False,
) -> HeadOutput:
    """Score every row with the head it picks.

    A row's answer does not depend on its neighbours, to the bit.

    Args:
        pooled: float32 (rows, hidden).
        head_id: integers (rows,), each an index into `heads`.
        heads: all for the same `hidden`.
        top_k: labels to return, at least 1, for all rows or for each; more than there are
            returns all. Equal probabilities: the lower index first.
        logits: whether to return every label's logits.

    Raises:
        ValueError: if shapes do not match, `top_k` is below 1, or a row picks no head or a head
            without labels.
        HeadNotFinite: if a logit is NaN or infinite.
    """
    depth = [top_k] * len(pooled) if isinstance(top_k, int) else top_k
    _check(pooled, head_id, heads, depth)
    picked = head_id.tolist()
    indices, energy = [_NO_INDICES] * len(pooled), np.empty(len(pooled), np.float32)
    probabilities, scores = [_NO_SCORES] * len(pooled), [_NO_SCORES] * len(pooled)
    # An overflow is reported once, with the head's number; an underflow is a probability of 0.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        inputs = read(pooled, [heads[head].features for head in picked])
        for rows in _alike(picked, heads):
            group_logits = _logits(inputs, rows, picked, heads)
            temperatures = np.array([heads[picked[row]].temperature for row in rows])
            group, energy[rows] = softmax(group_logits, temperatures[:, None])
            best = best_of(group, max(depth[row] for row in rows))
            ranked = group[np.arange(len(rows))[:, None], best]
            for place, row in enumerate(rows):
                indices[row] = best[place, : depth[row]]
                probabilities[row] = ranked[place, : depth[row]]
                scores[row] = group_logits[place]
    return HeadOutput(indices, probabilities, energy, scores if logits else None)


def _check(
    pooled: _Floats,
    head_id: NDArray[np.integer],
    heads: Sequence[HeadWeights],
    depth: Sequence[int],
) -> None:
    if pooled.ndim != 2 or pooled.dtype != np.float32 or head_id.shape != pooled.shape[:1]:
        raise ValueError(f"pooled {pooled.dtype} {pooled.shape} does not match {head_id.shape} ids")
    if len(depth) != len(pooled):
        raise ValueError(f"{len(depth)} top_k do not match {len(pooled)} rows")
    if min(depth, default=1) < 1:
        raise ValueError(f"top_k is {min(depth)}, expected at least 1")
    for head in set(head_id.tolist()):
        if not 0 <= head < len(heads):
            raise ValueError(f"a row picks a head outside 0 to {len(heads) - 1}")
        if not len(heads[head].bias):
            raise ValueError(f"head {head} has no labels")
        if (hidden := heads[head].hidden) != pooled.shape[1]:
            raise ValueError(f"head {head} takes {hidden} features, not {pooled.shape[1]}")


def _alike(picked: Sequence[int], heads: Sequence[HeadWeights]) -> Iterable[list[int]]:
    """Rows whose heads have equally many labels: they share all steps but the product."""
    groups: dict[int, list[int]] = {}
    for row, head in enumerate(picked):
        groups.setdefault(len(heads[head].bias), []).append(row)
    return groups.values()


def _logits(
    inputs: Sequence[_Floats],
    rows: Sequence[int],
    picked: Sequence[int],
    heads: Sequence[HeadWeights],
) -> _Floats:
    """One product a row. A BLAS picks its kernel, and with it the order of summation, by the shape.

    So a row's logits are the same to the bit whatever shares its batch, and a near tie cannot flip
    the label. It is also the fastest for rows that pick different heads, and for a few of one.
    """
    logits = np.array([heads[picked[row]].weight @ inputs[row] for row in rows])
    logits += np.array([heads[picked[row]].bias for row in rows])
    if not np.isfinite(logits).all():
        raise HeadNotFinite(picked[rows[int(np.isfinite(logits).all(axis=1).argmin())]])
    return logits
