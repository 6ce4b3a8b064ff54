"""What to label next: a random sample that measures, and unsure answers that teach.

It stands beside the prediction log, in the server, which reads the answers and asks the engine
anew. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

AUDIT_SHARE = 0.05
"""Share of answers that are drawn as audits, where no policy says so."""


def lot(prediction_id: str) -> float:
    """The number in [0, 1) that an answer draws: as good as random, and the same for ever.

    An answer is drawn for audit if its lot lies below the share of answers to audit, so that is
    the chance of each. Taken in the order of their lots, the first few are a random sample too.
    """
    digest = hashlib.sha256(prediction_id.encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def drawn(prediction_ids: Iterable[str], share: float) -> list[str]:
    """The answers that are drawn for audit, in the order in which to label them."""
    lots = sorted((lot(name), name) for name in prediction_ids)
    return [name for number, name in lots if number < share]


def apart(vectors: NDArray[np.float32], count: int) -> list[int]:
    """Places of `count` vectors that lie far apart, the first one given (at place 0) first.

    Each next one is the farthest from those taken (farthest-first traversal, Gonzalez 1985: at most
    twice the covering radius of the best choice; as core sets, Sener and Savarese 2018).

    Args:
        vectors: float32 (rows, hidden), the most wanted first.
        count: how many to take; all if there are no more.
    """
    taken: list[int] = []
    distance = np.full(len(vectors), np.inf)
    while len(taken) < min(count, len(vectors)):
        taken.append(int(distance.argmax()))
        step = vectors - vectors[taken[-1]]
        distance = np.minimum(distance, np.einsum("rh,rh->r", step, step))
        distance[taken] = -1.0
    return taken


def shuffled_in(chosen: list[str], audits: list[str]) -> list[str]:
    """Both lists in one, each in its order, the audits at random places that stay the same.

    Whoever labels shall not know which is which.
    """
    places = sorted(range(len(chosen) + len(audits)), key=lambda at: lot(f"{at} {audits[:1]}"))
    of_audits = set(places[: len(audits)])
    first, second = iter(audits), iter(chosen)
    return [next(first if at in of_audits else second) for at in range(len(places))]
