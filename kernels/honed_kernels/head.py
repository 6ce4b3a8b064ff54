"""The grouped head: pooled vectors in, the best labels of each row's own head out.

It is the last step of the predict journey, after the encoder: a batch holds rows of many models,
and each row picks its head. This is the NumPy path for the CPU; `reference.py` specifies it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]
_Integers = NDArray[np.int64]

# A BLAS picks its kernel, and with it the order of summation, by the size of the product. Blocks of
# one size keep a row's logits the same to the bit whatever shares its batch (OpenBLAS 0.3.30:
# measured for 1 to 5,000 labels), so a near tie cannot flip the label.
_BLOCK_ROWS = 16


class HeadNotFinite(ArithmeticError):
    """A head's logits overflowed or are not numbers; no row of the batch is answered.

    Served heads are checked to be finite, so look for an extreme weight or a broken encoder.

    Attributes:
        head_id: index of the head in `heads`.
    """

    def __init__(self, head_id: int) -> None:
        super().__init__(f"head {head_id} computed logits that are not finite")
        self.head_id = head_id


@dataclass(frozen=True, slots=True, eq=False)
class HeadWeights:
    """What a row is multiplied with: probability = softmax((x @ weight.T + bias) / temperature).

    Attributes:
        weight: float32 (num_labels, hidden).
        bias: float32 (num_labels,).
        temperature: positive and finite.

    Raises:
        ValueError: at construction, if shapes, dtypes or temperature are not as above.
    """

    weight: _Floats
    bias: _Floats
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"weight {self.weight.shape} and bias {self.bias.shape} do not match")
        if self.weight.dtype != np.float32 or self.bias.dtype != np.float32:
            raise ValueError(f"{self.weight.dtype} and {self.bias.dtype}: both must be float32")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}, expected above 0")


@dataclass(frozen=True, slots=True, eq=False)
class HeadOutput:
    """One entry per row of the batch, in its order.

    Attributes:
        indices: int64 (min(top_k, num_labels),) each: label indices, best first.
        probabilities: float32, the same lengths: their probabilities, never rising.
        logits: float32 (num_labels,) each, before temperature; None if not asked for.
    """

    indices: list[_Integers]
    probabilities: list[_Floats]
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

    Rows of one head are computed together; a row's answer does not depend on its neighbours.

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
    depth = np.broadcast_to(np.asarray(top_k, np.int64), head_id.shape)
    _check(pooled, head_id, heads, depth)
    nothing = np.empty(0, np.float32)
    indices = [np.empty(0, np.int64)] * len(pooled)
    probabilities, scores = [nothing] * len(pooled), [nothing] * len(pooled)
    for head in np.unique(head_id).tolist():
        rows = np.flatnonzero(head_id == head)
        group_logits = _logits(pooled[rows], heads[head], head)
        group = _softmax(group_logits, heads[head].temperature)
        best = _best(group, int(depth[rows].max()))
        ranked = np.take_along_axis(group, best, axis=1)
        for place, row in enumerate(rows.tolist()):
            indices[row] = best[place, : depth[row]]
            probabilities[row] = ranked[place, : depth[row]]
            scores[row] = group_logits[place]
    return HeadOutput(indices, probabilities, scores if logits else None)


def _check(
    pooled: _Floats, head_id: NDArray[np.integer], heads: Sequence[HeadWeights], depth: _Integers
) -> None:
    if pooled.ndim != 2 or pooled.dtype != np.float32 or head_id.shape != pooled.shape[:1]:
        raise ValueError(f"pooled {pooled.dtype} {pooled.shape} does not match {head_id.shape} ids")
    if not len(pooled):
        return
    if depth.min() < 1:
        raise ValueError(f"top_k is {depth.min()}, expected at least 1")
    if head_id.min() < 0 or head_id.max() >= len(heads):
        raise ValueError(f"a row picks a head outside 0 to {len(heads) - 1}")


def _logits(pooled: _Floats, head: HeadWeights, head_id: int) -> _Floats:
    num_labels, hidden = head.weight.shape
    if not num_labels:
        raise ValueError(f"head {head_id} has no labels")
    if hidden != pooled.shape[1]:
        raise ValueError(f"head {head_id} takes {hidden} features, not {pooled.shape[1]}")
    # An overflow is reported once, below, with the head's number.
    with np.errstate(over="ignore", invalid="ignore"):
        logits = _product(pooled, head.weight) + head.bias
    if not np.isfinite(logits).all():
        raise HeadNotFinite(head_id)
    return logits


def _product(pooled: _Floats, weight: _Floats) -> _Floats:
    rows, hidden = pooled.shape
    blocks = -(-rows // _BLOCK_ROWS)
    padded = np.zeros((blocks, _BLOCK_ROWS, hidden), np.float32)
    padded.reshape(-1, hidden)[:rows] = pooled
    product: _Floats = padded @ weight.T
    return product.reshape(-1, len(weight))[:rows]


def _softmax(logits: _Floats, temperature: float) -> _Floats:
    # Shift before dividing: the best label is then exp(0) however small the temperature, and
    # whatever overflows here is minus infinity, whose exp is 0. float64 holds every temperature.
    with np.errstate(over="ignore", under="ignore"):
        shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
        weights = np.exp(shifted / temperature)
        probabilities: _Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def _best(probabilities: _Floats, top_k: int) -> _Integers:
    if top_k == 1:
        first: _Integers = probabilities.argmax(axis=1, keepdims=True)
        return first
    # The bits of a non-negative float32 order as it does. With the index in the low half every key
    # is unique, so a partition cannot choose among equal probabilities: the lower index wins.
    num_labels = probabilities.shape[1]
    keys = (probabilities.view(np.int32).astype(np.int64) << 32) - np.arange(num_labels)
    top_k = min(top_k, num_labels)
    top = np.argpartition(keys, num_labels - top_k, axis=1)[:, num_labels - top_k :]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)
