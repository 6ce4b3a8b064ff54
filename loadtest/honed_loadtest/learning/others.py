"""What a user would pick instead, on the same vectors: scikit-learn, neighbours, river.

The packages are loaded when a contestant is made, so that one which is absent is only absent.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from honed_loadtest.learning.contestant import Answers
from honed_loadtest.learning.streams import Said
from honed_loadtest.learning.vectors import Vectors

NEIGHBOURS = 5
REFIT_LEAST, REFIT_GROWTH = 50, 0.05
"""Logistic regression is fitted anew when so many labels came, or so large a share of all."""
_STRENGTH = 10.0  # its inverse penalty: the best of 1, 10 and 100 in data that nobody tests on


class PartialFit:
    """scikit-learn's linear model by stochastic gradients, one `partial_fit` for each batch.

    Args:
        classes: All there will be, which it must be told.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._model: Any = import_module("sklearn.linear_model").SGDClassifier(random_state=0)
        self._classes = list(classes)
        self._fitted = False

    def learn(self, said: Sequence[Said], vectors: Vectors) -> None:
        """One step for each label."""
        self._model.partial_fit(vectors, [one.label for one in said], classes=self._classes)
        self._fitted = True

    def settle(self) -> None:
        """Nothing is put off."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """The class of the largest margin, which is the score too."""
        if not self._fitted:
            return Answers.none(len(texts))
        return _by_margin(self._model, vectors)

    def close(self) -> None:
        """Nothing to give back."""


class Refit:
    """scikit-learn's logistic regression, fitted from scratch on all labels again and again."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._make: Any = import_module("sklearn.linear_model").LogisticRegression
        self._vectors: list[Vectors] = []
        self._labels: list[str] = []
        self._fitted, self._model = 0, None

    def learn(self, said: Sequence[Said], vectors: Vectors) -> None:
        """Keeps the labels; fits when there are enough new ones."""
        self._vectors.append(vectors)
        self._labels += [one.label for one in said]
        new = len(self._labels) - self._fitted
        if new >= max(REFIT_LEAST, REFIT_GROWTH * self._fitted):
            self._fit()

    def settle(self) -> None:
        """Fits to the last labels, however few they are."""
        if self._fitted < len(self._labels):
            self._fit()

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """The most likely class; the score is its logit."""
        if self._model is None:
            return Answers.none(len(texts))
        return _by_margin(self._model, vectors)

    def close(self) -> None:
        """Nothing to give back."""

    def _fit(self) -> None:
        if len(set(self._labels)) < 2:
            return
        model = self._make(C=_STRENGTH, max_iter=1000)
        with warnings.catch_warnings():
            # With few labels it doubts that they are classes.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            self._model = model.fit(np.concatenate(self._vectors), self._labels)
        self._fitted = len(self._labels)


class Neighbours:
    """The labels of the nearest vectors that were learned, weighted by their cosine."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._vectors: list[Vectors] = []
        self._labels: list[str] = []

    def learn(self, said: Sequence[Said], vectors: Vectors) -> None:
        """Keeps the labels."""
        self._vectors.append(vectors)
        self._labels += [one.label for one in said]

    def settle(self) -> None:
        """Nothing is put off."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """The class with most of the cosine; the score is the mean cosine."""
        if not self._labels:
            return Answers.none(len(texts))
        self._vectors = [np.concatenate(self._vectors)]
        cosine = vectors @ self._vectors[0].T
        count = min(NEIGHBOURS, cosine.shape[1])
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(cosine, nearest, axis=1)
        labels = [self._vote(*pair) for pair in zip(nearest.tolist(), near.tolist(), strict=True)]
        return Answers(labels, near.mean(axis=1).astype(np.float64))

    def close(self) -> None:
        """Nothing to give back."""

    def _vote(self, rows: Sequence[int], weights: Sequence[float]) -> str:
        votes: dict[str, float] = {}
        for row, weight in zip(rows, weights, strict=True):
            votes[self._labels[row]] = votes.get(self._labels[row], 0.0) + weight
        return max(votes, key=votes.__getitem__)


class River:
    """river's softmax regression, one `learn_one` for each label, a step size of 1."""

    def __init__(self, classes: Sequence[str]) -> None:
        optimizer = import_module("river.optim").SGD(1.0)
        self._model: Any = import_module("river.linear_model").SoftmaxRegression(optimizer)
        self._learned = False

    def learn(self, said: Sequence[Said], vectors: Vectors) -> None:
        """One step for each label."""
        for one, vector in zip(said, vectors.tolist(), strict=True):
            self._model.learn_one(dict(enumerate(vector)), one.label)
            self._learned = True

    def settle(self) -> None:
        """Nothing is put off."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """The most likely class; the score is its probability."""
        if not self._learned:
            return Answers.none(len(texts))
        found = [self._model.predict_proba_one(dict(enumerate(row))) for row in vectors.tolist()]
        best = [max(one, key=one.__getitem__) for one in found]
        scores = [one[name] for one, name in zip(found, best, strict=True)]
        return Answers(best, np.array(scores, np.float64))

    def close(self) -> None:
        """Nothing to give back."""


def _by_margin(model: Any, vectors: Vectors) -> Answers:
    margins = np.asarray(model.decision_function(vectors), np.float64)
    if margins.ndim == 1:  # two classes have one margin
        margins = np.stack([-margins, margins], axis=1)
    labels = [str(model.classes_[at]) for at in margins.argmax(axis=1)]
    return Answers(labels, margins.max(axis=1))
