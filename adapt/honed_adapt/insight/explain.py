"""Why a text is answered as it is: words that count, and feedback that is near or moved it.

It stands beside both journeys: the server asks its engine about the text without each word, and the
adapt process about the feedback. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Chinese and Japanese are written without spaces: there each character is a word.
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+(?:['\u2019\-][^\W{_HAN}]+)*")

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Attributes:
        text: the word.
        first: where it begins, in characters.
        last: where it ends.
    """

    text: str
    first: int
    last: int

    def taken_out(self, text: str) -> str:
        """The text without it."""
        return f"{text[: self.first].rstrip()} {text[self.last :].lstrip()}".strip()

    def bytes_of(self, text: str) -> tuple[int, int]:
        """Where it begins and ends in bytes of the UTF-8 text."""
        start = len(text[: self.first].encode())
        return start, start + len(self.text.encode())


def words(text: str, most: int) -> list[Word]:
    """The first `most` words of a text."""
    found = (Word(match[0], match.start(), match.end()) for match in _WORD.finditer(text))
    return [word for word, _ in zip(found, range(most), strict=False)]


@dataclass(frozen=True, slots=True)
class Reason:
    """One label of feedback behind an answer.

    Attributes:
        position: its place in the log.
        similarity: cosine of the two texts' vectors.
        influence: how much it raises the logit of the explained label, see `Lane.influence`.
    """

    position: int
    similarity: float
    influence: float


def similarity(vectors: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each vector (rows, hidden) with another, (rows,)."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    cosines: NDArray[np.float32] = vectors @ vector / np.maximum(lengths, _TINY)
    return cosines
