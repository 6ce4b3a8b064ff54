"""A head as the kernels compute with it.

It stands between what learning makes and what answers: the server, the gate and the guard all turn
heads into scores here, so that they agree.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.instant.features import projection
from honed_kernels.fourier import Fourier, Projection
from honed_kernels.head import HeadWeights, grouped_head

_making = Lock()
_STEP_ROWS = 256  # vectors whose features are in memory at once: 5 MB


def weights_of(head: Head) -> HeadWeights:
    """What `honed_kernels.head` multiplies with; shares the arrays of a validated head.

    The first head with features of a seed takes half a second, for the projection.
    """
    features = None
    if head.features:
        with _making:
            shared = _shared(head.hidden, head.features.seed)
        features = Fourier(shared, head.features.count, head.features.width)
    return HeadWeights(head.weight, head.bias, head.temperature, features)


def best_labels(head: Head, vectors: NDArray[np.float32]) -> list[str | None]:
    """The label that a head answers for each vector (rows, hidden); None if it knows no label."""
    if not head.labels:
        return [None] * len(vectors)
    weights, found = weights_of(head), list[str | None]()
    for start in range(0, len(vectors), _STEP_ROWS):
        part = vectors[start : start + _STEP_ROWS]
        output = grouped_head(part, np.zeros(len(part), np.int64), [weights])
        found += [head.labels[int(best[0])] for best in output.indices]
    return found


def logits_of(head: Head, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logits (rows, labels) of a head that knows labels, before its temperature."""
    weights, found = weights_of(head), list[NDArray[np.float32]]()
    for start in range(0, len(vectors), _STEP_ROWS):
        part = vectors[start : start + _STEP_ROWS]
        output = grouped_head(part, np.zeros(len(part), np.int64), [weights], logits=True)
        assert output.logits is not None, "logits were asked for"
        found += output.logits
    return np.array(found, np.float64).reshape(len(vectors), head.num_labels)


@lru_cache(maxsize=4)
def _shared(hidden: int, seed: int) -> Projection:
    """One object for all heads behind an encoder: the engine projects a batch once for each."""
    made = projection(hidden, seed)
    return Projection(made.matrix.astype(np.float64), made.phase.astype(np.float64))
