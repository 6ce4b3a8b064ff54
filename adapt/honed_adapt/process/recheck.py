"""Checks a deletion: is the lane that subtracted what was deleted the lane that never had it?

It stands beside the loop, in a thread of its own, since building a lane anew can take seconds, and
labels must not wait for a check. What it finds is a number on the record of the deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import structlog

from honed_adapt.instant.evidence import Logits
from honed_adapt.instant.lane import Lane

log = structlog.get_logger(__name__)


class Rechecks:
    """The checks of one adapt process, one after the other.

    Args:
        tell: Called in the thread with the log position of a deletion and the difference.
    """

    def __init__(self, tell: Callable[[str, int, float], None]) -> None:
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "recheck")

    def begin(self, model: str, deletions: Sequence[int], lane: Lane) -> None:
        """Has a lane checked as it is now.

        Args:
            model: Whose it is.
            deletions: Log positions of the deletions that it has just carried out.
            lane: It; what happens to it afterwards does not matter.
        """
        rows, recipe, votes, said = lane.in_effect, lane.recipe, dict(lane.votes), lane.learned
        other = lane.fresh()

        def check() -> None:
            other.rebuild(rows, recipe, votes)
            found = difference(said, other.learned)
            log.info("deletion checked", model=model, difference=found)
            for position in deletions:
                self._tell(model, position, found)

        self._thread.submit(check).add_done_callback(_complain)


def difference(one: Logits | None, other: Logits | None) -> float:
    """Largest difference of two lanes' weights and biases, as a share of the largest of them."""
    if one is None or other is None:
        return 0.0 if one is other else 1.0
    if one.labels != other.labels or one.features != other.features:
        return 1.0
    pairs = ((one.weight, other.weight), (one.bias, other.bias))
    return max(
        float(np.abs(a - b).max() / max(float(np.abs(b).max()), np.finfo(np.float64).tiny))
        for a, b in pairs
    )


def _complain(done: Future[None]) -> None:
    if error := done.exception():
        log.error("a deletion could not be checked", why=repr(error))
