"""Keeps the matrices of models that are learned in memory, and those of idle ones on disk.

It stands beside `loop.py`. A model with 4,096 features has two matrices of 134 MB; they are needed
only while labels come. Nothing is owed to the files: they are removed when they are read back, and
at the next start, when the matrices are made anew from the rows.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from honed_adapt.instant.lane import Lane

_SUFFIX = ".parked"


class Parking:
    """Decides whose matrices are in memory: those that were used last, within the budget.

    Args:
        folder: for the files; what earlier processes left there is removed.
        budget_bytes: what the matrices of all models may take.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder = folder
        self._budget = budget_bytes
        self._lanes: list[Lane] = []
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"*{_SUFFIX}"):
            left.unlink()

    def used(self, lane: Lane) -> None:
        """Note that a lane has just worked; parks others while the budget is exceeded."""
        self._lanes = [*(one for one in self._lanes if one is not lane), lane]
        hot = [one.ridge for one in self._lanes if one.ridge is not None]
        taken = sum(ridge.nbytes for ridge in hot)
        for idle in hot:
            if taken <= self._budget or idle is lane.ridge:
                break
            taken -= idle.nbytes
            idle.park(self._folder / f"{uuid4().hex}{_SUFFIX}")

    def gone(self, lane: Lane) -> None:
        """Forget a lane that is not learned any more, its file included."""
        self._lanes = [one for one in self._lanes if one is not lane]
        if lane.ridge is not None:
            lane.ridge.unpark()
