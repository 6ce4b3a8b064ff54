"""What logits say: probabilities, and which labels are best. `head.py` hands them logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def softmax(
    logits: NDArray[np.float32], temperature: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Probabilities and energies of logits.

    Args:
        logits: float32 (rows, labels), finite.
        temperature: float64 (rows, 1), positive; divides them.

    Returns:
        float32 (rows, labels), and float64 (rows,): -T * logsumexp(logits / T).
    """
    # Shift before dividing: the best label is then exp(0) however small the temperature, and
    # whatever overflows here is minus infinity, whose exp is 0. float64 holds every temperature.
    best = logits.max(axis=1, keepdims=True)
    weights = np.exp((logits - best).astype(np.float64) / temperature)
    total = weights.sum(axis=1, keepdims=True)
    energy: NDArray[np.float64] = -(best + temperature * np.log(total))[:, 0]
    return (weights / total).astype(np.float32), energy


def best_of(probabilities: NDArray[np.float32], top_k: int) -> NDArray[np.int64]:
    """Indices of the best labels of each row, best first; equal ones by rising index.

    Args:
        probabilities: float32 (rows, labels), none negative.
        top_k: how many, at least 1.

    Returns:
        int64 (rows, min(top_k, labels)).
    """
    if top_k == 1:
        first: NDArray[np.int64] = probabilities.argmax(axis=1, keepdims=True)
        return first
    # The bits of a non-negative float32 order as it does. With the index in the low half every key
    # is unique, so a partition cannot choose among equal probabilities: the lower index wins.
    num_labels = probabilities.shape[1]
    keys = (probabilities.view(np.int32).astype(np.int64) << 32) - np.arange(num_labels)
    top_k = min(top_k, num_labels)
    top = np.argpartition(keys, num_labels - top_k, axis=1)[:, num_labels - top_k :]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)
