"""Soft labels: a text that is several labels at once, each to a share.

It stands under the log, the lane and training, which all read them alike: as rows of one text, one
for each label, with the entry's weight times the label's share. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import fsum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Shares: TypeAlias = tuple[tuple[str, float], ...]
"""Labels with their shares, which sum to 1: largest first, equal ones by name."""

Said: TypeAlias = str | Shares
"""What is said of one text: its label, or the shares of several."""


def shared(shares: Iterable[tuple[str, float]]) -> Shares:
    """Bring shares above 0 into order and their sum to 1."""
    found = sorted(shares, key=lambda one: (-one[1], one[0]))
    total = fsum(share for _, share in found)
    return tuple((label, share / total) for label, share in found)


def parts(
    said: Sequence[Said],
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """Take what is said of texts apart.

    Returns:
        Of each part, in order: its label, the place of its text in `said`, and its share.
    """
    whole = [((one, 1.0),) if isinstance(one, str) else one for one in said]
    labels = [label for one in whole for label, _ in one]
    at = np.repeat(np.arange(len(whole)), [len(one) for one in whole])
    return labels, at, np.array([share for one in whole for _, share in one], np.float64)


def as_text(shares: Shares) -> str | None:
    """Shares as the log keeps them, JSON pairs; None for none."""
    return json.dumps(shares, ensure_ascii=False) if shares else None


def from_text(text: str | None) -> Shares:
    """What `as_text` made."""
    return tuple((label, share) for label, share in json.loads(text)) if text else ()
