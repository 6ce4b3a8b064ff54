"""Which labels are held out: one text in five by its hash, but never the first five of a class.

It stands under whatever learns for a while without some labels in order to be judged by them: the
trial of integers (`precision.py`) and fine-tuning rounds (`training/`). Over an encoder that a
round made, the instant lane judges itself by the same ones. Pure.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar

FIRST_OF_CLASS = 5
"""So many of each class are never held out."""

_ONE_IN = 5


class Labelled(Protocol):
    """A text that has a label."""

    @property
    def text_hash(self) -> bytes:
        """SHA-256 of the text."""
        ...

    @property
    def label(self) -> str:
        """Its label."""
        ...


T = TypeVar("T", bound=Labelled)


def drawn(text_hash: bytes) -> bool:
    """Whether a text is the one in five that is held out unless it is among a class's first."""
    return not int.from_bytes(text_hash[:8]) % _ONE_IN


def held_out(rows: Iterable[T]) -> list[T]:
    """Return those that are held out.

    Args:
        rows: one for each text, in log order: a class's first five are those that came first.
    """
    seen = Counter[str]()
    held = []
    for row in rows:
        seen[row.label] += 1
        if seen[row.label] > FIRST_OF_CLASS and drawn(row.text_hash):
            held.append(row)
    return held
