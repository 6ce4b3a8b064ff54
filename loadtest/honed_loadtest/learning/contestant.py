"""What every contestant does: it learns labels, and answers texts that it has not learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.learning.streams import Said
from honed_loadtest.learning.vectors import Vectors

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers to some texts.

    Attributes:
        labels: One for each; "" where nothing was learned.
        scores: How much each text looks like what was learned: higher is more, (texts,).
        seconds: CPU time that they took, where another process knows it; else None.
    """

    labels: Sequence[str]
    scores: Scores
    seconds: float | None = None

    @classmethod
    def none(cls, count: int) -> Answers:
        """Those of one that has learned nothing."""
        return cls([""] * count, np.zeros(count))


class Contestant(Protocol):
    """Learns one stream."""

    def learn(self, said: Sequence[Said], vectors: Vectors) -> float | None:
        """Learns labels in their order; returns the CPU seconds if another process took them."""

    def settle(self) -> float | None:
        """Learns what it has put off, before a look that is reported alone; costs as `learn`."""

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """Answers texts as it would now."""

    def close(self) -> None:
        """Gives back what it holds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant that can be entered for streams.

    Attributes:
        name: As it stands in tables.
        make: Of the stream's classes, which only some need to be told before they come.
        told: Whether it is told them: an advantage.
        slow: Whether it is only shown the first labels of few streams.
        every: Labels that come together.
        least: Labels before which it answers nothing.
        packages: What must be installed.
        environment: Folder of the pins of its own environment; None if it lives in the project's.
        settings: How it is set, for the reader of its figures.
    """

    name: str
    make: Callable[[Sequence[str]], Contestant]
    told: bool = False
    slow: bool = False
    every: int = 25
    least: int = 1
    packages: Sequence[str] = field(default_factory=tuple)
    environment: str | None = None
    settings: str = ""
