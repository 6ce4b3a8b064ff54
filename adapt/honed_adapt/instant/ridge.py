"""Ridge regression on a text's features, one label at a time, exactly reversible.

It stands beside `discriminant.py` as the expert for many labels: `experts.py` mixes the two. With
rows phi of weight w, targets y (one-hot, or shares) and penalty l it keeps the additive sums

    G = sum w phi phi^T,   H = sum w y phi^T      and solves      W (G + l I) = H

at every moment. A row changes G by a rank of one, so P = (G + l I)^-1 and W follow by the matrix
inversion lemma (Woodbury, 1950; recursive least squares, Plackett, 1950) for one product P phi,
where a fresh solution would cost D^3 / 3. A row of weight -w takes one of weight w out again. What
rounding leaves behind is removed by iterative refinement against the exact sums. Float64.

P is kept as a base matrix and the last few updates beside it: writing D^2 numbers for each label
would cost more than the product.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Features
from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.features import fourier
from honed_adapt.instant.parked import Parked
from honed_adapt.instant.slices import Slices, add_square, finish, invert, mirror
from honed_adapt.instant.updates import CHUNK, Recent, Scores, Watch
from honed_adapt.shares import Said, parts

_GATHER = 256  # rows whose features are made at a time when a model is built
_CLOSE = 1e-12  # relative residual at which refinement has done its work
_FAR = 1e-9  # and at which the inverse is so worn that it is made anew
_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Spec:
    """Numbers that a ridge model is made with.

    Attributes:
        features: the random features beside the vector itself.
        penalty: added to the diagonal of G, above 0.
    """

    features: Features
    penalty: float


class Ridge:
    """One model's regression: what it was made with, the sums, P and W.

    Args:
        spec: the numbers.
        gram: G of the rows that are in it, float64 (D, D); kept.
        inverse: P for them; kept.
    """

    def __init__(self, spec: Spec, gram: Floats, inverse: Floats) -> None:
        self.spec = spec
        self.size = spec.features.count
        self._gram, self._inverse = gram, inverse
        self._parked: Parked | None = None
        self._slots: dict[str, int] = {}
        self._count = np.zeros(8, np.int64)
        self._cross = np.zeros((8, self.size))
        self._weight = np.zeros((8, self.size))
        self._watches: dict[str, Watch] = {}
        self._recent = Recent(self.size)

    @property
    def nbytes(self) -> int:
        """What the two large matrices take in memory."""
        return self._gram.nbytes + self._inverse.nbytes

    def park(self, path: Path) -> None:
        """Leave the two large matrices in a file until they are needed."""
        if self._parked is None:
            self.settle()
            self._parked = Parked(path, (self._gram, self._inverse))
            self._gram = self._inverse = np.zeros((0, 0))

    def unpark(self) -> None:
        """Have the matrices in memory, and nowhere else."""
        if self._parked is not None:
            self._gram, self._inverse = self._parked.take()
            self._parked = None

    @property
    def unsettled(self) -> bool:
        """Whether a moment of leisure would be well spent on `settle`."""
        return self._recent.count >= CHUNK // 2

    def weights(self, labels: Sequence[str]) -> Floats:
        """Rows of W for these labels, float64 (labels, D); zeros for one without rows."""
        found = [self._slots.get(label, -1) for label in labels]
        chosen: Floats = self._weight[found]
        chosen[[slot < 0 for slot in found]] = 0.0
        return chosen

    def learn(self, labels: Sequence[Said], vectors: NDArray[np.float32], weights: Floats) -> None:
        """Add rows: vectors (rows, hidden), weights (rows,); negative ones take rows out."""
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            self._learn(labels[part], fourier(vectors[part], self.spec.features), weights[part])

    def forget(self, labels: Sequence[Said], vectors: NDArray[np.float32], weights: Floats) -> None:
        """Take out rows that were added with the same weights; no trace but rounding is left."""
        self.learn(labels, vectors, -weights)
        self.refine()

    def follow(self, name: str, keys: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Keep the scores of some rows up to date from now on, instead of others of that name.

        Args:
            name: of the group.
            keys: of its rows: who was followed under a key before is not computed anew.
            vectors: float32 (rows, hidden).
        """
        old = self._watches.get(name)
        if old is not None and old.keys == list(keys):
            return
        if old is None:
            old = self._watch([], vectors[:0])
        known = {key: at for at, key in enumerate(old.keys)}
        new = [at for at, key in enumerate(keys) if key not in known]
        fresh = self._watch([keys[at] for at in new], vectors[new])
        place = known | {key: len(old.keys) + at for at, key in enumerate(fresh.keys)}
        kept = [place[key] for key in keys]
        rows, values, leverage = (
            np.concatenate([getattr(old, part), getattr(fresh, part)])[kept]
            for part in ("rows", "values", "leverage")
        )
        self._watches[name] = Watch(list(keys), rows, values, leverage)

    def unfollow(self, name: str) -> None:
        """Stop keeping the scores of that group."""
        self._watches.pop(name, None)

    def followed(self, name: str, labels: Sequence[str]) -> Scores:
        """Scores of the rows of that name."""
        return self._scores(self._watches[name], labels)

    def values(self, vectors: NDArray[np.float32], labels: Sequence[str]) -> Floats:
        """phi^T W_c of any rows, vectors (rows, hidden): float64 (rows, labels)."""
        return self._chosen(fourier(vectors, self.spec.features) @ self._weight.T, labels)

    def scores(self, vectors: NDArray[np.float32], labels: Sequence[str]) -> Scores:
        """Scores of any rows, vectors (rows, hidden)."""
        return self._scores(self._watch([], vectors), labels)

    def leverage(self, rows: Floats, others: Floats) -> Floats:
        """Return phi^T P phi' of features (rows, D) and (others, D): float64 (rows, others)."""
        products: Floats = self._times_inverse(rows) @ others.T
        return products

    def take(self, cross: Mapping[str, Floats], count: Mapping[str, int]) -> None:
        """Take over the sums by label that belong to G, and solve for W."""
        for label, total in cross.items():
            slot = self._slot(label)
            self._cross[slot], self._count[slot] = total, count[label]
        self._weight = self._cross @ self._inverse
        self.refine()

    def settle(self) -> None:
        """Write the last updates into the large matrices."""
        if self._recent.count:
            self.unpark()
            self._recent.write(self._gram, self._inverse)

    def refine(self) -> None:
        """Correct W against the exact sums (Wilkinson, 1963) until only rounding is left."""
        self.unpark()
        self.settle()
        scale = float(np.linalg.norm(self._cross)) or 1.0
        before = np.inf
        for _ in range(_ROUNDS):
            residual = self._cross - self._weight @ self._gram - self.spec.penalty * self._weight
            size = float(np.linalg.norm(residual)) / scale
            if size > max(_FAR, before / 2):
                self._inverse = self._gram.copy()
                finish(inverted(self._inverse, self.spec.penalty))
            elif size >= before:
                break
            self._weight += residual @ self._inverse
            before = size
            if size <= _CLOSE:
                break
        for watch in self._watches.values():
            watch.values = watch.rows @ self._weight.T

    def _learn(self, said: Sequence[Said], rows: Floats, weights: Floats) -> None:
        labels, at, share = parts(said)
        slots = [self._slot(label) for label in labels]
        towards = self._times_inverse(rows)
        core = np.linalg.inv(np.diag(1 / weights) + rows @ towards.T)
        core = (core + core.T) / 2
        error = -(rows @ self._weight.T)
        error[at, slots] += share
        change = core @ error
        self._weight += change.T @ towards
        for watch in self._watches.values():
            moved = watch.rows @ towards.T
            watch.values += moved @ change
            watch.leverage -= np.einsum("rk,rk->r", moved @ core, moved)
        np.add.at(self._cross, slots, rows[at] * (weights[at] * share)[:, None])
        np.add.at(self._count, slots, np.sign(weights[at]).astype(np.int64))
        self._drop_empty(labels)
        if self._recent.count + len(rows) > CHUNK:
            self.settle()
        self._recent.put(rows, weights, towards, core)
        if len(rows) > 1:
            self.settle()  # many at once are cheapest written at once

    def _scores(self, watch: Watch, labels: Sequence[str]) -> Scores:
        return Scores(self._chosen(watch.values, labels), watch.leverage)

    def _chosen(self, values: Floats, labels: Sequence[str]) -> Floats:
        """From values by slot, (rows, slots), those of some labels; zeros for one without rows."""
        found = [self._slots.get(label, -1) for label in labels]
        chosen = values[:, found]
        chosen[:, [slot < 0 for slot in found]] = 0.0
        return chosen

    def _watch(self, keys: list[int], vectors: NDArray[np.float32]) -> Watch:
        rows = fourier(vectors, self.spec.features)
        leverage = np.einsum("rd,rd->r", rows, self._times_inverse(rows))
        return Watch(keys, rows, rows @ self._weight.T, leverage)

    def _times_inverse(self, rows: Floats) -> Floats:
        self.unpark()
        return self._recent.correct(rows, rows @ self._inverse)

    def _slot(self, label: str) -> int:
        """The row of W that is a label's."""
        if label not in self._slots:
            used = set(self._slots.values())
            slot = next(at for at in range(len(used) + 1) if at not in used)
            if slot == len(self._count):
                self._count = np.concatenate([self._count, np.zeros_like(self._count)])
                self._cross = np.concatenate([self._cross, np.zeros_like(self._cross)])
                self._weight = np.concatenate([self._weight, np.zeros_like(self._weight)])
                for watch in self._watches.values():
                    watch.values = np.concatenate([watch.values, 0 * watch.values], axis=1)
            self._slots[label] = slot
        return self._slots[label]

    def _drop_empty(self, labels: Sequence[str]) -> None:
        """A label without rows keeps no rounding residue of what it forgot."""
        for label in set(labels):
            slot = self._slots[label]
            assert self._count[slot] >= 0, "a row was removed that was never added"
            if self._count[slot] == 0:
                del self._slots[label]
                self._cross[slot] = self._weight[slot] = 0.0
                for watch in self._watches.values():
                    watch.values[:, slot] = 0.0


def build(
    spec: Spec,
    labels: Sequence[Said],
    vectors: NDArray[np.float32],
    weights: Floats,
) -> Generator[None, None, Ridge]:
    """Make a regression from rows, in slices: labels (rows,), vectors (rows, hidden), weights."""
    size = spec.features.count
    gram = np.zeros((size, size))
    cross: dict[str, Floats] = {}
    count: dict[str, int] = {}
    for start in range(0, len(labels), _GATHER):
        part = slice(start, start + _GATHER)
        rows = fourier(vectors[part], spec.features)
        names, at, share = parts(labels[part])
        for label, row, weight in zip(names, rows[at], weights[part][at] * share, strict=True):
            cross.setdefault(label, np.zeros(size))
            cross[label] += weight * row
            count[label] = count.get(label, 0) + 1
        yield
        yield from add_square(gram, rows, weights[part])
    yield from mirror(gram)
    inverse = gram.copy()
    yield from inverted(inverse, spec.penalty)
    ridge = Ridge(spec, gram, inverse)
    ridge.take(cross, count)
    return ridge


def inverted(matrix: Floats, penalty: float) -> Slices:
    """Turn G into P = (G + penalty I)^-1, in place."""
    matrix.flat[:: len(matrix) + 1] += penalty
    yield from invert(matrix)
