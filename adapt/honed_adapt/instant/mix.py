"""What the experts of one model say, mixed into one linear function by a recipe.

It stands inside `lane.py`; `experts.py` is the part that learns. Each expert is a linear function
of [x, phi(x)], and so is the mix: one head serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import OpenSet
from honed_adapt.instant.apart import Regressed, distance_without, mean_square, open_set
from honed_adapt.instant.calibration import (
    HeldOut,
    Sample,
    TemperaturePrior,
    Tuning,
    fit_temperature,
    leave_one_out,
    sample_of,
)
from honed_adapt.instant.choices import balanced
from honed_adapt.instant.discriminant import Floats, Solution, data_prior, solve
from honed_adapt.instant.evidence import Logits
from honed_adapt.instant.leave_out import discriminant_moved, power, regression_moved
from honed_adapt.instant.present import PresentRows, Row, arrays
from honed_adapt.instant.recipe import Recipe, recent_prior
from honed_adapt.instant.regression import Regression
from honed_adapt.instant.ridge import Ridge
from honed_adapt.instant.updates import Scores
from honed_adapt.shares import parts

_ANCHORS = "anchors"
_MIX = TemperaturePrior(temperature=1.0, lowest=0.05, highest=20.0)


class Mix:
    """What rows teach, by the recipe that stands.

    Args:
        present: the rows.
        tuning: numbers of the maths.
        known: labels that come first, whether they have rows or not.

    Attributes:
        recipe: how the experts are mixed.
        sampled: what `temperature` was found on.
    """

    def __init__(self, present: PresentRows, tuning: Tuning, known: Sequence[str] = ()) -> None:
        self.recipe = Recipe()
        self.sampled: HeldOut | None = None
        self._present = present
        self._tuning = tuning
        self._known = known
        self._regression = Regression()
        self._anchors = np.zeros((0, present.sums.hidden), np.float32)
        self._solution: Solution | None = None
        self._left_out: HeldOut | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Those known from the start, then others in the order of their smallest position."""
        if self._solution is not None:
            return self._solution.labels
        others = (name for name in self._present.labels() if name not in self._known)
        return (*self._known, *others)

    @property
    def solution(self) -> Solution:
        """The discriminant; there must be rows."""
        if self._solution is None:
            prior = data_prior(self._present.sums, self._tuning.shrinkage)
            self._solution = solve(self._present.sums, self.labels, prior)
        return self._solution

    @property
    def ridge(self) -> Ridge | None:
        """The regression that serves, None while there is none."""
        return self._regression.ridge

    @property
    def prior(self) -> Floats:
        """Log odds of each label by what was lately asked, (labels,); 0 without audits."""
        return recent_prior(self._present.recent_audits(self.labels))

    def logits(self) -> Logits:
        """The mix as one linear function, float64; there must be rows."""
        first, second = self._factors()
        hidden, labels = self._present.sums.hidden, self.labels
        if second == 0:
            return Logits(labels, first * self.solution.weight, first * self.solution.bias)
        weight = np.empty((len(labels), hidden + self.recipe.features))
        factors = (second * self._balance())[:, None]
        np.multiply(self._ridge.weights(labels), factors, out=weight[:, hidden:])
        np.multiply(self.solution.weight, first, out=weight[:, :hidden])
        return Logits(labels, weight, first * self.solution.bias, self.recipe.fourier)

    def follow_anchors(self, vectors: NDArray[np.float32]) -> None:
        """Put other anchor vectors (anchors, hidden) in place."""
        self._anchors = vectors
        if self._regression.ridge is not None:
            self._regression.ridge.unfollow(_ANCHORS)

    def anchor_logits(self) -> Floats:
        """What `logits` says of the anchors, (anchors, labels); there must be rows."""
        first, second = self._factors()
        logits = np.zeros((len(self._anchors), len(self.labels)))
        if first:
            logits += first * (self._anchors @ self.solution.weight.T + self.solution.bias)
        if second:
            self._ridge.follow(_ANCHORS, range(len(self._anchors)), self._anchors)
            scores = self._ridge.followed(_ANCHORS, self.labels)
            logits += scores.values * (second * self._balance())
        return logits

    def temperature(self) -> float:
        """The temperature of `logits`, found on rows that are scored as if not learned."""
        prior = _MIX if self.recipe.features else self._tuning.temperature
        self.sampled = self.held_out(self._sample(), followed=True)
        return fit_temperature(self.sampled, prior)

    def held_out(self, rows: Sequence[Row], *, followed: bool = False) -> HeldOut:
        """What `logits` would say of rows in effect if they had not been learned.

        Rows that are alone in their class are left out: without them their label would not exist.

        Args:
            rows: which.
            followed: whether they are the sample, whose scores the regression keeps.
        """
        first, second = self._factors()
        sample = sample_of(self.labels, rows)
        kept = self.solution.classes.count[sample.targets] > 1
        held_out = sample.held_out(kept, np.zeros((int(kept.sum()), len(self.labels))))
        if first:
            alone = self._sample_left_out() if followed else leave_one_out(self.solution, sample)
            held_out.logits[:] += first * alone.logits
        values = np.zeros_like(held_out.logits)
        if second and kept.any():
            scores = self._regression.scores(rows, self.labels, followed=followed)
            values = self._without(scores.of(kept), held_out)
            held_out.logits[:] += second * self._balanced(values, held_out)
        return replace(held_out, apart=self._apart(sample.vectors[kept], held_out, values))

    def open_set(self, temperature: float, odds: Floats) -> OpenSet:
        """What the out-of-scope score of a head reads that serves `logits`; there must be rows.

        Args:
            temperature: of the head.
            odds: what its logits have beside those of `logits`, (labels,).
        """
        (first, second), regressed = self._factors(), None
        if second:
            solution = self.solution
            rest = Logits(self.labels, first * solution.weight, first * solution.bias + odds)
            regressed = Regressed(rest, second * self._balance())
        return open_set(self._present.sums, self.solution.classes, regressed, temperature)

    def moved(self, rows: Sequence[Row], vector: NDArray[np.float32]) -> Floats:
        """How much each row moves what `logits` says of a text, (rows, labels), up to a constant.

        A soft label moves it by what each of its shares would alone.

        Args:
            rows: in effect, one at least.
            vector: of the text, float32 (hidden,).
        """
        first, second = self._factors()
        names, at, share = parts([row.said for row in rows])
        (vectors, weights), places = arrays(rows), [self.labels.index(name) for name in names]
        sample = Sample(vectors[at], np.array(places), weights[at] * share)
        classes = self.solution.classes
        moved = np.zeros((len(at), len(self.labels)))
        if first:
            moved += first * discriminant_moved(self.solution, sample, vector)
        if second:
            scores = self._ridge, self.labels, classes.weight, self.recipe.balance
            moved += second * regression_moved(*scores, sample, vector)
        of_rows = np.zeros((len(rows), len(self.labels)))
        np.add.at(of_rows, at, moved)
        return of_rows

    def _apart(
        self, vectors: NDArray[np.float32], held_out: HeldOut, values: Floats
    ) -> Callable[[NDArray[np.int64]], Floats]:
        """How far rows lie from a label that was without them, less what `values` say of it."""
        scale, classes = mean_square(self._present.sums), self.solution.classes
        rows = np.arange(len(vectors))

        def apart(labels: NDArray[np.int64]) -> Floats:
            shares = held_out.shares
            said = held_out.targets == labels if shares is None else shares[rows, labels]
            parted = held_out.weights * said
            far = distance_without(scale, classes, vectors.astype(np.float64), parted, labels)
            less: Floats = far - values[rows, labels]
            return less

        return apart

    def _sample_left_out(self) -> HeldOut:
        """What the discriminant would say of the sample if it had not been learned."""
        if self._left_out is None:
            self._left_out = leave_one_out(self.solution, sample_of(self.labels, self._sample()))
        return self._left_out

    def _without(self, scores: Scores, held_out: HeldOut) -> Floats:
        """Scores of rows that the regression had not learned: (rows, labels)."""
        return scores.without(held_out.targets, held_out.weights, held_out.shares).values

    def _balanced(self, values: Floats, held_out: HeldOut) -> Floats:
        """The same, balanced by the labels' weights without the rows."""
        targets, weights = held_out.targets, held_out.weights
        if held_out.shares is not None:
            left = self.solution.classes.weight - weights[:, None] * held_out.shares
            return values * power(left, self.recipe.balance)
        own = (np.arange(len(targets)), targets)
        left = self.solution.classes.weight[targets] - weights
        balanced = values * self._balance()
        balanced[own] = values[own] * power(left, self.recipe.balance)
        return balanced

    def _factors(self) -> tuple[float, float]:
        """What the discriminant's and the regression's logits are multiplied by in the mix."""
        recipe = self.recipe
        if not recipe.features:
            return 1.0, 0.0
        return (1 - recipe.share) / recipe.discriminant, recipe.share / recipe.regression

    def _balance(self) -> Floats:
        """Factor of each label's scores, (labels,); 0 for one without rows."""
        return balanced(self.solution.classes.weight, self.recipe.balance)

    def _sample(self) -> list[Row]:
        return self._present.sample(self._tuning.sample_rows)

    @property
    def _ridge(self) -> Ridge:
        ridge = self._regression.ridge
        assert ridge is not None, "a recipe with features has a regression"
        return ridge
