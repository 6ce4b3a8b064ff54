"""Streams whose work runs only as far as a test lets it, and heads that show a mixture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from honed_kernels.head import HeadWeights
from honed_kernels.streams import Event

Made = TypeVar("Made")
HIDDEN = 3


@dataclass
class FakeEvent:
    done: bool = False

    def query(self) -> bool:
        return self.done


@dataclass
class FakeStream:
    """Work waits here until `step`; a queued wait blocks what is behind it."""

    queue: deque[Callable[[], bool]] = field(default_factory=deque)

    def make(self, allocate: Callable[[], Made]) -> Made:
        return allocate()

    def run(self, work: Callable[[], object]) -> None:
        self.queue.append(lambda: (work(), True)[1])

    def record(self) -> FakeEvent:
        event = FakeEvent()

        def pass_it() -> bool:
            event.done = True
            return True

        self.queue.append(pass_it)
        return event

    def wait(self, event: Event) -> None:
        self.queue.append(event.query)

    def step(self) -> bool:
        """Do the next piece of work unless it has to wait."""
        if self.queue and self.queue[0]():
            self.queue.popleft()
            return True
        return False


def head(version: int, labels: int) -> HeadWeights:
    """Every number of it is its version, so that a mixture shows."""
    weight = np.full((labels, HIDDEN), version, np.float32)
    return HeadWeights(weight, np.full(labels, version, np.float32))
