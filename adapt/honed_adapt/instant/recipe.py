"""How the experts of a model are mixed: what is decided, from which votes, by which rule.

It stands beside `experts.py`, which learns; here it is decided. Pure.

Votes are prequential (A. P. Dawid, 1984): before an audited row is learned, every mix says how
likely its label is. What was said is kept with the row, and goes when the row goes. Only audits
vote: corrections exist only where what serves was wrong, and would elect anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from honed_adapt.head import Features
from honed_adapt.instant.choices import PENALTIES
from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.features import SEED

SHARES = (0.0, 0.5, 0.7, 0.75, 0.9, 1.0)
"""The mixes that are compared, by the regression's share; the discriminant has the rest."""

Vote = tuple[float, ...]
"""What a row said before it was learned: the nats that its label cost under each of `SHARES`, then
for each whether it was the answer, 1 or 0."""

# Labels in effect from which on a model has so many features: found on folds of Banking77's train
# file and CLINC150's train and validation files. With half as many it goes back.
_FEATURES = ((64, 1_024), (256, 2_048), (512, 4_096))
# The regression's share as long as too few have voted, by labels in effect, found there too. The
# last is for labels that the least penalty suits: where more smoothing is wanted the discriminant
# helps as well (arXiv's titles up to 2016: 0.6 points).
_SHARE = ((0, 0.7), (1_000, 0.75), (6_000, 0.9))
_WINDOW = 4_000  # votes that count, the latest ones: among 1,000 a fifth of a point is chance
_SHOWN = 1_000  # and of what is told of each expert alone
_FEW = 64
_PSEUDO_COUNT = 30.0  # audits that each label is credited with: one that has no more may still win
_REVIEWS = 1.25  # by how much labels grow between two reviews


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the served head is made with, beside the labels themselves.

    Attributes:
        features: random features of the regression; 0 while there is none.
        width: of their kernel.
        penalty: of the regression.
        balance: a label's scores are divided by its weight to that power, so that rare labels
            are not drowned out: 0 for plain one-hot targets, 1 for class means as targets.
        share: the regression's share in the mix, 0 to 1.
        discriminant: temperature of the discriminant's logits before they are mixed.
        regression: temperature of the regression's.
        chosen: labels in effect when width and penalty were chosen.
        rows: labels in effect when this was decided.
    """

    features: int = 0
    width: float = 1.0
    penalty: float = 0.1
    balance: float = 0.5
    share: float = 0.7
    discriminant: float = 1.0
    regression: float = 1.0
    chosen: int = 0
    rows: int = 0

    @property
    def fourier(self) -> Features | None:
        """The features as a head names them; None while there are none."""
        return Features(self.features, self.width, SEED) if self.features else None

    def numbers(self) -> dict[str, Any]:
        """The recipe as a record keeps it; empty for that of a model with few labels."""
        return asdict(self) if self.features else {}

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Recipe:
        """The recipe that a record keeps; an empty record is that of an empty model.

        Raises:
            TypeError: if the record names what no recipe has.
        """
        return cls(**numbers)


def features_for(rows: int, now: int) -> int:
    """How many features a model with `rows` labels in effect wants, when it has `now`."""
    wanted = max((count for least, count in _FEATURES if rows >= least), default=0)
    if wanted < now and rows >= _least(now) // 2:
        return now
    return wanted


def due(recipe: Recipe, rows: int) -> bool:
    """Whether temperatures and shares shall be looked at again."""
    grown = rows >= recipe.rows * _REVIEWS
    return recipe.features > 0 and (grown or rows * _REVIEWS < recipe.rows)


def overdue(recipe: Recipe, rows: int) -> bool:
    """Whether width and penalty shall be chosen again: labels have doubled since."""
    return recipe.features > 0 and rows >= 2 * recipe.chosen


def recent_prior(counts: Floats) -> Floats:
    """Log odds of each label by what was lately asked, against a label of average frequency.

    Args:
        counts: fading counts of audits by label, (labels,); all 0 where nothing was audited.
    """
    odds = counts + _PSEUDO_COUNT
    prior: Floats = np.log(odds / odds.mean())
    return prior


def share_for(votes: Sequence[Vote], rows: int, penalty: float) -> float:
    """The regression's share that the votes, oldest first, speak for.

    It differs from the usual one only for a mix whose mean loss is lower by more than two standard
    errors, and that was right more often by one, or gave the same answers: by losses alone a mix
    would win that is less often right, and only less sure of it. The later half of the votes
    counts, since early ones speak of what few labels had taught.

    Args:
        votes: those of rows in effect.
        rows: labels in effect.
        penalty: of the regression.
    """
    table = _SHARE if penalty <= PENALTIES[0] else _SHARE[:-1]
    usual = max(share for least, share in table if rows >= least)
    latest = votes[-min(max(len(votes) // 2, _FEW), _WINDOW) :]
    if len(latest) < _FEW:
        return usual
    losses, right = np.split(np.array(latest), 2, axis=1)
    serving = SHARES.index(usual)
    more = right - right[:, [serving]]
    as_right = more.mean(axis=0) >= more.std(axis=0) / len(more) ** 0.5
    best = int(np.where(as_right, losses.mean(axis=0), np.inf).argmin())
    gain = losses[:, serving] - losses[:, best]
    surprise = float(gain.std()) / len(gain) ** 0.5
    return SHARES[best] if gain.mean() > 2 * surprise else usual


def losses(votes: Mapping[int, Vote]) -> dict[str, float]:
    """Nats that an audit cost each expert alone, on average, and how many votes that is.

    Args:
        votes: by log position; the latest ones count.
    """
    latest = sorted(votes)[-_SHOWN:]
    nothing: Vote = (0.0,) * (2 * len(SHARES))
    mean = np.array([votes[at] for at in latest] or [nothing]).mean(axis=0)
    first, last = float(mean[0]), float(mean[len(SHARES) - 1])
    return {"discriminant": first, "regression": last, "votes": len(latest)}


def votes_of(discriminant: Floats, regression: Floats, targets: Sequence[int]) -> list[Vote]:
    """The votes of rows.

    Args:
        discriminant: calibrated logits, float64 (rows, labels).
        regression: the same of the other expert.
        targets: index of each row's label.
    """
    votes = np.zeros((len(targets), 2 * len(SHARES)))
    for at, share in enumerate(SHARES):
        logits = (1 - share) * discriminant + share * regression
        logits = logits - logits.max(axis=1, keepdims=True)
        mine = logits[np.arange(len(targets)), targets]
        votes[:, at] = np.log(np.exp(logits).sum(axis=1)) - mine
        votes[:, len(SHARES) + at] = mine == 0
    return [tuple(vote) for vote in votes.tolist()]


def _least(count: int) -> int:
    return next(least for least, features in _FEATURES if features == count)
