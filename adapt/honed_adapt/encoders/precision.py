"""Whether a model may be answered in integers: found out with labels that were held out for it.

It stands in the trainer process, between the integer form of an encoder (`integers.py`) and the
server, which decides. Pure: the vectors come from outside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.gate.holdout import held_out
from honed_adapt.head import Head
from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import PresentRows, Row
from honed_adapt.scoring import best_labels

FIRST_LABELS = 1000
"""Labels in effect from which on it is worth finding out."""

LEAST_HOLDOUT = 200
"""Held-out texts below which nothing is decided."""

MOST_CHANGED = 0.002
"""Share of held-out texts whose label may depend on the batch that they are in."""

MOST_LOST = 0.005
"""Accuracy on held-out texts that may be lost against float32."""

# Sizes of the batches that held-out texts are grouped into, each time in another order.
_GROUPINGS = (8, 5, 1)

EncodeBatch = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What held-out labels say about a model's answers in integers.

    Attributes:
        labels: labels in effect when it was found.
        holdout: texts that were held out.
        changed: share of them whose label changed with the batch.
        lost: accuracy lost against float32; negative if gained.
    """

    labels: int
    holdout: int
    changed: float
    lost: float

    @property
    def holds(self) -> bool:
        """Whether integers may serve."""
        return (
            self.holdout >= LEAST_HOLDOUT
            and 0 <= self.changed <= MOST_CHANGED
            and self.lost <= MOST_LOST
        )


def due(labels: int, judged_at: int) -> bool:
    """Whether to find out again: first at FIRST_LABELS, then whenever the labels have doubled.

    Args:
        labels: in effect now.
        judged_at: in effect when it was found out last, 0 for never.
    """
    return labels >= max(FIRST_LABELS, 2 * judged_at)


def find_out(
    rows: Sequence[Row],
    texts: Mapping[int, str],
    encode: EncodeBatch,
    *,
    base: Head | None = None,
    trust: Mapping[str, float] | None = None,
) -> Evidence | None:
    """Learn without the held-out texts, then answer them in integers, grouped in several ways.

    Args:
        rows: all labels of a model, with float32 vectors.
        texts: the text of each by log position.
        encode: encodes texts as one batch, in integers.
        base: the head that the model was imported with.
        trust: trust by submitter.

    Returns:
        None while too few texts are held out.
    """
    if not rows:
        return None
    hidden = rows[0].vector.size
    present = PresentRows(hidden, trust or {})
    present.change(rows, ())
    held = _held_out(present.in_log_order(), audits_only=base is not None)
    if len(held) < LEAST_HOLDOUT:
        return None
    hashes = {row.text_hash for row in held}
    lane = Lane(hidden, base=base, trust=trust)
    lane.rebuild(row for row in rows if row.text_hash not in hashes)
    right = np.array([row.label for row in held])
    exact = _answers(lane.head, np.stack([row.vector for row in held]))
    asked = [texts[row.position] for row in held]
    runs = [
        _answers(lane.head, _grouped(asked, size, encode, seed))
        for seed, size in enumerate(_GROUPINGS)
    ]
    return Evidence(
        labels=len(present.standing),
        holdout=len(held),
        changed=float(np.mean([run != runs[0] for run in runs[1:]])),
        lost=float((exact == right).mean() - np.mean([run == right for run in runs])),
    )


def _held_out(rows: Sequence[Row], *, audits_only: bool) -> list[Row]:
    """One text in five.

    Beside a user's own head only audits: it is wrong on corrections, so nothing can be lost there.
    """
    return held_out(row for row in rows if row.votes or not audits_only)


def _grouped(
    texts: Sequence[str], size: int, encode: EncodeBatch, seed: int
) -> NDArray[np.float32]:
    """Vectors of texts, encoded in batches of this size in random order."""
    order = np.random.default_rng(seed).permutation(len(texts))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    vectors = [encode([texts[i] for i in group]) for group in groups]
    return np.concatenate(vectors)[np.argsort(order)]


def _answers(head: Head, vectors: NDArray[np.float32]) -> NDArray[np.str_]:
    return np.array(best_labels(head, vectors))
