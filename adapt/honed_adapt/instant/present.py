"""The labels present in one model's instant lane, and which of them count.

It stands inside `lane.py`: it decides which label of a text is in effect, and keeps the sums and
the order of labels in step with that. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from honed_adapt.feedback.values import Entry, Kind
from honed_adapt.gate.holdout import FIRST_OF_CLASS, drawn
from honed_adapt.instant.discriminant import Sums
from honed_adapt.shares import Said, Shares, parts

_HALF = 200  # audits after which one counts half
_HORIZON = 4_000  # and after which it counts no more: a millionth
_FEW = 64  # held-out rows below which a sample is of all: too few to say anything by


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One label of one text, ready to be learned.

    Attributes:
        position: place in the feedback log.
        text_hash: SHA-256 of the text.
        label: its label, of a soft one that with the largest share.
        submitter: who says so.
        weight: how much it counts, above 0.
        vector: the encoded text, float32 (hidden,).
        votes: whether it may say how good the model is: it was drawn at random (AUDIT), and is one
            label.
        shares: all labels of a soft label, else empty.
    """

    position: int
    text_hash: bytes
    label: str
    submitter: str
    weight: float
    vector: NDArray[np.float32]
    votes: bool = False
    shares: Shares = ()

    @property
    def said(self) -> Said:
        """Its label, or the shares of several."""
        return self.shares or self.label

    def same(self, other: Row | None) -> bool:
        """Whether both say the same of the same text."""
        if other is None:
            return False
        facts = ("position", "text_hash", "label", "submitter", "weight", "votes", "shares")
        same = all(getattr(self, fact) == getattr(other, fact) for fact in facts)
        return same and np.array_equal(self.vector, other.vector)

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
            votes=entry.kind is Kind.AUDIT and not entry.shares,
            shares=entry.shares,
        )


@dataclass(frozen=True, slots=True)
class Moves:
    """What a change did to the rows in effect.

    Attributes:
        gone: rows that count no more.
        come: rows that count from now on.
    """

    gone: Sequence[Row]
    come: Sequence[Row]


class PresentRows:
    """Rows by position, those in effect by text, and the sums of the latter.

    In effect is the newest label of a text by its most trusted submitter. Hashes and positions are
    kept sorted, so that a batch costs by its own size and not by the number of rows.

    Args:
        hidden: length of a vector.
        trust: trust by submitter; others have 1.
        tuned: whether the vectors are of an encoder that a round tuned on such rows.

    Attributes:
        sums: of the rows in effect.
        rows: all, by log position.
        standing: those in effect, by text hash.
    """

    def __init__(self, hidden: int, trust: Mapping[str, float], *, tuned: bool = False) -> None:
        self.sums = Sums(hidden)
        self.rows: dict[int, Row] = {}
        self.standing: dict[bytes, Row] = {}
        self._trust = trust
        self._tuned = tuned
        self._texts: dict[bytes, list[Row]] = {}
        self._hashes: list[bytes] = []
        self._positions: dict[str, list[int]] = {}
        self._audits: list[int] = []

    def labels(self) -> list[str]:
        """Labels in the order of their smallest position in effect, and of their names there."""
        return sorted(self._positions, key=lambda label: (self._positions[label][0], label))

    def in_log_order(self) -> list[Row]:
        """Rows in effect, sorted by position."""
        return sorted(self.standing.values(), key=attrgetter("position"))

    def sample(self, size: int) -> list[Row]:
        """Rows in effect with the smallest text hashes, to judge by what is learned of others.

        An encoder that was tuned knows the rows that it was trained on, whatever is learned of
        them here. So over one they are those that rounds hold out, if there are enough.
        """
        if self._tuned:
            held = list(islice((row for row in self._by_hash() if self._held_out(row)), size))
            if len(held) >= min(size, _FEW):
                return held
        return list(islice(self._by_hash(), size))

    def unknown_audits(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows, yet to be learned, that may vote on texts that are not known.

        What has learned a text answers it from memory. One that comes often votes once.
        """
        first: dict[bytes, Row] = {}
        for row in rows:
            if row.votes and row.text_hash not in self.standing:
                first.setdefault(row.text_hash, row)
        return list(first.values())

    def recent_audits(self, labels: Sequence[str]) -> NDArray[np.float64]:
        """Counts of audits in effect by label, (labels,); each fades by half in `_HALF` later ones.

        Only audits tell how often a label is asked for: corrections exist where answers were wrong.
        """
        at = {label: place for place, label in enumerate(labels)}
        latest = [at[self.rows[position].label] for position in self._audits[-_HORIZON:]]
        fading = 0.5 ** (np.arange(len(latest))[::-1] / _HALF)
        counts = np.zeros(len(labels))
        np.add.at(counts, np.array(latest, np.int64), fading)
        return counts

    def difference(self, rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
        """Return what must come and what must go, so that just these rows are present."""
        wanted = {row.position: row for row in rows}
        gone = [row for at, row in self.rows.items() if not row.same(wanted.get(at))]
        come = [row for at, row in wanted.items() if not row.same(self.rows.get(at))]
        return come, gone

    def change(self, added: Iterable[Row], removed: Iterable[Row]) -> Moves:
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
        gone = [old for old, new in moves if old is not None and old is not new]
        come = [new for old, new in moves if new is not None and old is not new]
        self._withdraw(gone)
        self._stand(come)
        return Moves(gone, come)

    def _by_hash(self) -> Iterator[Row]:
        return (self.standing[key] for key in self._hashes)

    def _held_out(self, row: Row) -> bool:
        """As `held_out` has it, but looked up: a sample is due with each label that is learned."""
        if not drawn(row.text_hash):
            return False
        others = self._positions[row.label]
        return bisect_left(others, row.position) >= FIRST_OF_CLASS

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
            if row.votes:
                del self._audits[bisect_left(self._audits, row.position)]
            for label in parts([row.said])[0]:
                positions = self._positions[label]
                del positions[bisect_left(positions, row.position)]
                if not positions:
                    del self._positions[label]
        if rows:
            self.sums.remove(*labelled(rows))

    def _stand(self, rows: list[Row]) -> None:
        for row in rows:
            self.standing[row.text_hash] = row
            insort(self._hashes, row.text_hash)
            for label in parts([row.said])[0]:
                insort(self._positions.setdefault(label, []), row.position)
            if row.votes:
                insort(self._audits, row.position)
        if rows:
            self.sums.add(*labelled(rows))


def labelled(
    rows: Sequence[Row],
) -> tuple[list[str], NDArray[np.float32], NDArray[np.float64]]:
    """Return labels, vectors and weights of at least one row, as sums take them.

    A soft label is as many as it has shares, each with its part of the weight.
    """
    labels, at, share = parts([row.said for row in rows])
    vectors, weights = arrays(rows)
    if len(labels) == len(rows):
        return labels, vectors, weights
    return labels, vectors[at], weights[at] * share


def arrays(rows: Sequence[Row]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return vectors (rows, hidden) and weights (rows,) of at least one row."""
    return np.stack([row.vector for row in rows]), np.array([row.weight for row in rows])
