"""How much learned logits count beside a user's own head, as far as audited rows have shown.

It stands inside `lane.py`, between what the rows teach (`discriminant.py`) and the head that
serves; `prequential.py` feeds it. Pure; float64 throughout.

With the own head's logits z and the learned logits e (already over their temperature), both over
the same labels, hypothesis (a, T) says p(y | x) = softmax((z + a e) / T)_y. A row votes by its
log-likelihood under a solution that had not seen it (prequential: A. P. Dawid, "Statistical theory:
the prequential approach", 1984), and S(a, T) is the sum over the votes. The evidence in nats is

    log mean over a > 0 of exp S(a, T)  -  max over T of S(0, T)

a mixture of predictions over the maximised likelihood of all that the own head could be at any
temperature. So exp(evidence) is an e-value against "the own head is right, but for its temperature"
(Wasserman, Ramdas and Balakrishnan, "Universal inference", 2020): at every length it is at most a
non-negative martingale that starts at 1, and by Ville's inequality (1939) it ever exceeds 20 with a
probability of 1 in 20 at most, however often one looks. Until then the own head serves untouched.

How much it counts from there on is another question: of all (a, T) the likeliest by recent votes
serves, but none that was right less often than the own head. Likelihood alone would let a head win
that answers worse, and is only less sure where it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Features, Head
from honed_adapt.instant.discriminant import Floats, Solution
from honed_adapt.instant.features import expand

# The own head's temperatures are closer together than the others', and `_ceiling` bounds what lies
# between them: else learned logits could win by nothing but a better temperature.
_BASE = tuple((0.0, 2.0 ** (step / 8)) for step in range(64, -25, -1))
_INVERSE = np.array([1 / temperature for _, temperature in _BASE])
_MIXED = tuple(
    (share * temperature, temperature)
    for share in (0.125, 0.25, 0.5, 0.75, 1.0, 1.5)
    for temperature in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
)
HYPOTHESES = (*_BASE, *_MIXED)
"""All (a, T) that are compared; the temperatures of the own head alone come first."""

ENOUGH = math.log(20)
"""Evidence in nats from which on what was learned counts."""

# What the own head concedes to a new label, as a share of the lead of its best over its mean logit.
_NEW_LABEL = 0.75
_TIE = 1e-9
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Weighing:
    """How the learned logits count: softmax((own + weight * learned) / temperature).

    Attributes:
        weight: 0 while there is not enough evidence.
        temperature: divides the sum; 1 while the weight is 0.
        evidence: in nats, below 0 where the own head does better alone.
    """

    weight: float
    temperature: float
    evidence: float


ALONE = Weighing(1.0, 1.0, 0.0)
"""Where there is no own head, nothing is weighed."""


@dataclass(frozen=True, slots=True, eq=False)
class Logits:
    """Linear logits: z @ weight.T + bias, with z = x or [x, phi(x)] as in a head.

    Attributes:
        labels: names, C of them.
        weight: float64 (C, hidden + features).
        bias: float64 (C,).
        features: what is read beside the vector; None for nothing.
    """

    labels: tuple[str, ...]
    weight: Floats
    bias: Floats
    features: Features | None = None

    def of(self, vectors: NDArray[np.float32]) -> Floats:
        """Logits of `vectors` (rows, hidden): (rows, C)."""
        read = vectors if self.features is None else expand(vectors, self.features)
        logits: Floats = read @ self.weight.T + self.bias
        return logits

    def over(self, temperature: float) -> Logits:
        """The same logits, divided."""
        return Logits(
            self.labels, self.weight / temperature, self.bias / temperature, self.features
        )

    def raised(self, by: Floats) -> Logits:
        """The same logits, each plus a constant of its label, (C,)."""
        return Logits(self.labels, self.weight, self.bias + by, self.features)

    def head(self, temperature: float) -> Head:
        """Return the float32 head that serves them."""
        weight, bias = self.weight.astype(np.float32), self.bias.astype(np.float32)
        return Head(self.labels, weight, bias, temperature, self.features)


def base_logits(base: Head, labels: Sequence[str], vectors: NDArray[np.float32]) -> Logits:
    """Logits of a user's own head over its labels and new ones behind them.

    The head says nothing of a new label. Its logit is put below the best and above the mean of the
    others, by how far these two are apart on average, so that it has a chance and yet does not win
    where the head is sure.

    Args:
        base: the own head, which has at least one label.
        labels: its labels, then the new ones.
        vectors: texts to average over, float32 (rows, hidden).
    """
    assert tuple(labels[: base.num_labels]) == base.labels, "new labels stand behind the base's"
    weight = base.weight.astype(np.float64) / base.temperature
    bias = base.bias.astype(np.float64) / base.temperature
    logits = vectors @ weight.T + bias
    lead = float((logits.max(axis=1) - logits.mean(axis=1)).mean())
    new = len(labels) - base.num_labels
    return Logits(
        tuple(labels),
        np.concatenate([weight, np.tile(weight.mean(axis=0), (new, 1))]),
        np.concatenate([bias, np.full(new, bias.mean() + _NEW_LABEL * lead)]),
    )


def learned_logits(solution: Solution, temperature: float) -> Logits:
    """Logits of what the rows teach, over their temperature."""
    return Logits(solution.labels, solution.weight / temperature, solution.bias / temperature)


def combine(base: Logits, learned: Logits, weighing: Weighing) -> Head:
    """Return the float32 head that serves both, over the same labels."""
    weight = weighing.weight * learned.weight
    weight[:, : base.weight.shape[1]] += base.weight
    bias = base.bias + weighing.weight * learned.bias
    return Logits(base.labels, weight, bias, learned.features).head(weighing.temperature)


def tally(
    base: Floats, learned: Floats, targets: NDArray[np.int64], votes: Floats, known: int
) -> Floats:
    """Count votes: (2, hypotheses), which are log-likelihoods and right answers.

    Args:
        base: logits (rows, C).
        learned: logits over their temperature (rows, C).
        targets: index of each row's label, int64 (rows,).
        votes: how much each row votes, 1 at most: a likelihood ratio to a power above 1 is no
            e-value (below 1 it is, by Jensen's inequality).
        known: how many of the labels, the first ones, the own head has: alone it never answers
            another.
    """
    counts = np.zeros((2, len(HYPOTHESES)))
    for start in range(0, len(votes), _CHUNK):
        part = slice(start, start + _CHUNK)
        likelihood, right = _answers(base[part], learned[part], targets[part])
        right[: len(_BASE)] = base[part, :known].argmax(axis=1) == targets[part]
        counts += np.stack([likelihood, right]) @ votes[part]
    return counts


def _answers(
    base: Floats, learned: Floats, targets: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Log-likelihood of each row's label and whether it is the answer: (hypotheses, rows)."""
    weight, temperature = np.array(HYPOTHESES).T[:, :, None, None]
    logits = (base + weight * learned) / temperature
    logits -= logits.max(axis=2, keepdims=True)
    mine = logits[:, np.arange(len(targets)), targets]
    return mine - np.log(np.exp(logits).sum(axis=2)), mine == 0


def weigh(total: Floats, recent: Floats) -> Weighing:
    """Return the weighing that votes justify.

    Args:
        total: sum of tallies; decides whether what was learned counts.
        recent: sum with more weight on recent ones; decides how much, since what is learned gets
            better and what was best for all votes would lag behind.
    """
    likelihood, (score, right) = total[0], recent
    base, mixed = likelihood[: len(_BASE)], likelihood[len(_BASE) :]
    highest = float(mixed.max())
    evidence = highest + math.log(np.exp(mixed - highest).mean()) - _ceiling(base)
    as_right = right >= right[0] * (1 - _TIE)
    weight, temperature = HYPOTHESES[int(np.where(as_right, score, -np.inf).argmax())]
    if evidence < ENOUGH or weight == 0:
        return Weighing(0.0, 1.0, evidence)
    return Weighing(weight, temperature, evidence)


def _ceiling(base: Floats) -> float:
    """The most that the own head's log-likelihood can be at any temperature, also between `_BASE`.

    It is concave in 1 / T (a linear function less a log-sum-exp). So beside the highest of the
    points it lies below the lines that the points on either side span.
    """
    best = int(base.argmax())
    after = _behind(_INVERSE, base, best)
    before = _behind(-_INVERSE[::-1], base[::-1], len(base) - 1 - best)
    return max(after, before)


def _behind(x: Floats, y: Floats, best: int) -> float:
    """The most that a concave function through (x, y) can be between `best` and the next point."""
    if not 0 < best < len(x) - 2:
        return float(y[best])  # the grid ends far from any temperature that a head may want
    near = slice(best - 1, best + 3)
    rising, falls, falling = np.diff(y[near]) / np.diff(x[near])
    if rising <= falling:
        return float(y[best])  # straight, or so by rounding
    # Where the line up to `best` meets the line from the next point on.
    meeting = (falls - falling) / (rising - falling) * (x[best + 1] - x[best])
    return float(y[best] + max(rising, 0.0) * meeting)
