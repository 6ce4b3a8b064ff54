"""The labels present in one model's instant lane, and which of them count.

It stands inside `lane.py`: it decides which label of a text is in effect, and keeps the sums and
the order of labels in step with that. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from honed_adapt.feedback_values import Entry, Kind
from honed_adapt.instant import Sums


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One label of one text, ready to be learned.

    Attributes:
        position: place in the feedback log.
        text_hash: SHA-256 of the text.
        label: its label.
        submitter: who says so.
        weight: how much it counts, above 0.
        vector: the encoded text, float32 (hidden,).
        votes: whether it may say how good the model is: it was drawn at random (AUDIT).
    """

    position: int
    text_hash: bytes
    label: str
    submitter: str
    weight: float
    vector: NDArray[np.float32]
    votes: bool = False

    @classmethod
    def of(cls, entry: Entry, vector: NDArray[np.float32]) -> Row:
        """Bundles a label of the log with the vector of its text."""
        return cls(
            position=entry.position,
            text_hash=entry.text_hash,
            label=entry.label,
            submitter=entry.submitter,
            weight=entry.weight,
            vector=vector,
            votes=entry.kind is Kind.AUDIT,
        )


class PresentRows:
    """Rows by position, those in effect by text, and the sums of the latter.

    In effect is the newest label of a text by its most trusted submitter. Hashes and positions are
    kept sorted, so that a batch costs by its own size and not by the number of rows.

    Args:
        hidden: length of a vector.
        trust: trust by submitter; others have 1.

    Attributes:
        sums: of the rows in effect.
        rows: all, by log position.
        standing: those in effect, by text hash.
    """

    def __init__(self, hidden: int, trust: Mapping[str, float]) -> None:
        self.sums = Sums(hidden)
        self.rows: dict[int, Row] = {}
        self.standing: dict[bytes, Row] = {}
        self._trust = trust
        self._texts: dict[bytes, list[Row]] = {}
        self._hashes: list[bytes] = []
        self._positions: dict[str, list[int]] = {}

    def labels(self) -> list[str]:
        """Labels in the order of their smallest position in effect."""
        return sorted(self._positions, key=lambda label: self._positions[label][0])

    def in_log_order(self) -> list[Row]:
        """Rows in effect, sorted by position."""
        return sorted(self.standing.values(), key=attrgetter("position"))

    def sample(self, size: int) -> list[Row]:
        """Rows in effect with the smallest text hashes."""
        return [self.standing[key] for key in self._hashes[:size]]

    def change(self, added: Iterable[Row], removed: Iterable[Row]) -> None:
        """Add and take out rows, and bring what counts, the sums and the order up to date."""
        touched: dict[bytes, None] = {}
        for row in removed:
            del self.rows[row.position]
            self._texts[row.text_hash].remove(row)
            touched[row.text_hash] = None
        for row in added:
            assert row.position not in self.rows, "a log position is learned once"
            self.rows[row.position] = row
            self._texts.setdefault(row.text_hash, []).append(row)
            touched[row.text_hash] = None
        moves = [(self.standing.get(key), self._effective(key)) for key in touched]
        self._withdraw([old for old, new in moves if old is not None and old is not new])
        self._stand([new for old, new in moves if new is not None and old is not new])

    def _effective(self, text_hash: bytes) -> Row | None:
        """The label that counts for a text; forgets a text that has none left."""
        rows = self._texts[text_hash]
        if not rows:
            del self._texts[text_hash]
            return None
        return max(rows, key=lambda row: (self._trust.get(row.submitter, 1.0), row.position))

    def _withdraw(self, rows: list[Row]) -> None:
        for row in rows:
            del self.standing[row.text_hash]
            del self._hashes[bisect_left(self._hashes, row.text_hash)]
            positions = self._positions[row.label]
            del positions[bisect_left(positions, row.position)]
            if not positions:
                del self._positions[row.label]
        if rows:
            self.sums.remove([row.label for row in rows], *arrays(rows))

    def _stand(self, rows: list[Row]) -> None:
        for row in rows:
            self.standing[row.text_hash] = row
            insort(self._hashes, row.text_hash)
            insort(self._positions.setdefault(row.label, []), row.position)
        if rows:
            self.sums.add([row.label for row in rows], *arrays(rows))


def arrays(rows: Sequence[Row]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return vectors (rows, hidden) and weights (rows,) of at least one row."""
    return np.stack([row.vector for row in rows]), np.array([row.weight for row in rows])
