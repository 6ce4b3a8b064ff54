"""Large matrices on disk while nobody needs them.

It stands below `ridge.py`; `parking.py` decides who is parked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from honed_adapt.instant.discriminant import Floats


class Parked:
    """Matrices in a file, which is gone once they are taken back.

    Args:
        path: of the file, which must not exist.
        matrices: written there in full.
    """

    def __init__(self, path: Path, matrices: tuple[Floats, ...]) -> None:
        self._path = path
        with path.open("xb") as file:
            for matrix in matrices:
                np.save(file, matrix, allow_pickle=False)
        self._count = len(matrices)

    def take(self) -> tuple[Floats, ...]:
        """Return the matrices; the file is removed."""
        with self._path.open("rb") as file:
            matrices = tuple(np.load(file, allow_pickle=False) for _ in range(self._count))
        self._path.unlink()
        return matrices
