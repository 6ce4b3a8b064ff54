"""Evidence that stays valid however often one looks: bets against a hypothesis, and their gains.

Under `evaluate.py` and `trials.py`. If the hypothesis holds no bet is expected to gain, so that the
chance of ever holding 1 / alpha times the stake is at most alpha (Ville's inequality). Pure.
"""

from __future__ import annotations

import math

import numpy as np

# Shares of the stake that are bet on each item, side by side: small ones for large sets, large ones
# for small sets. Their mean is itself a bet.
_STAKES = np.geomspace(0.01, 0.99, 24)
_STEPS = 16  # halvings: to 3e-5


def e_value(wins: int, losses: int) -> float:
    """Evidence that wins are more likely than losses: at least 20 is significant at 5 %.

    The mean over p in (1/2, 1) of (2 p)^wins (2 (1 - p))^losses, a test martingale when wins are
    no likelier than losses (Ramdas et al., arXiv 2210.01948). With n = wins + losses the integral
    is an incomplete beta function, that is a binomial tail, which leaves

        sum over j <= wins of wins! losses! / (j! (n + 1 - j)!).
    """
    n = wins + losses
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(n + 2), 1)))
    terms = -log_factorial[: wins + 1] - log_factorial[n + 1 : losses : -1]
    log_value = float(np.logaddexp.reduce(terms) + log_factorial[wins] + log_factorial[losses])
    return math.exp(log_value) if log_value < 700 else math.inf


def against_loss(wins: float, losses: float, total: float, loss: float) -> float:
    """Evidence that the accuracy changes by more than -`loss`, from paired answers.

    Each item pays d + loss for d = 1 (win), -1 (loss) or 0; a stake s in (0, 1) multiplies its
    share of the money by 1 + s (d + loss) / (1 - loss), which is never negative and does not gain
    where the mean of d is -loss (Waudby-Smith and Ramdas, arXiv 2010.09686). Since d has three
    values the counts say all.

    Args:
        wins: items that only the new head answers rightly.
        losses: items that only the old one answers rightly.
        total: items in all.
        loss: accuracy that may be lost, between -1 and 1; a negative one asks for a gain.
    """
    stakes = _STAKES / (1 - loss)
    logs = (
        wins * np.log1p(stakes * (1 + loss))
        + losses * np.log1p(stakes * (loss - 1))
        + (total - wins - losses) * np.log1p(stakes * loss)
    )
    log_value = float(np.logaddexp.reduce(logs)) - math.log(len(_STAKES))
    return math.exp(log_value) if log_value < 700 else math.inf


def lower_bound(wins: int, losses: int, total: int, alpha: float) -> float:
    """Lower end of a confidence sequence for the change in accuracy: above it with 1 - alpha.

    The largest change that the bets exclude, by bisection; -1 where they exclude none.
    """
    low, high = -1.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if against_loss(wins, losses, total, -middle) >= 1 / alpha:
            low = middle
        else:
            high = middle
    return low


def settles(wins: int, losses: int, total: int, loss: float, alpha: float) -> bool:
    """Whether so many items can exclude a loss: they would if wins and losses were as many.

    A set too small for that says nothing by not excluding it.
    """
    even = (wins + losses) / 2
    return against_loss(even, even, total, loss) >= 1 / alpha
