"""How busy the engine is, told to those that learn beside it.

It stands behind the engine's deliveries: counts them for a fraction of a second and says what they
show (`messages.Load`), so that learning can step back (`honed_adapt.process.budget`). The first
delivery starts a period, and an idle period ends the reports: a server that nobody asks says
nothing.
"""

import asyncio
from collections.abc import Callable, Sequence

from honed_adapt.process.messages import Load

_PERIOD_S = 0.1


class Pressure:
    """Counts what the engine does and reports it. Event loop only.

    Args:
        workers: Engine threads.
        waiting: Requests that wait or run now.
        tell: Takes the reports.
    """

    def __init__(
        self, workers: int, waiting: Callable[[], int], tell: Callable[[Load], None]
    ) -> None:
        self._workers = workers
        self._waiting = waiting
        self._tell = tell
        self._reporting = False
        self._clear()

    def observe(self, seconds: float, delays_s: Sequence[float]) -> None:
        """Counts a batch: how long it was computed, and how long each of its rows had waited."""
        self._busy_s += seconds
        self._delay_s += sum(delays_s)
        self._rows += len(delays_s)
        if not self._reporting:
            self._reporting = True
            self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_PERIOD_S, self._report, loop.time())

    def _report(self, began: float) -> None:
        period_s = asyncio.get_running_loop().time() - began
        self._tell(self._load(period_s))
        self._reporting = bool(self._rows or self._waiting())
        self._clear()
        if self._reporting:
            self._begin()

    def _load(self, period_s: float) -> Load:
        if self._rows:
            idle = 1 - self._busy_s / (period_s * self._workers)
            # Never quite idle: that is what the last report of a busy time says.
            return Load(min(max(idle, 0.0), 0.99), self._delay_s / self._rows)
        return Load(0.0, period_s) if self._waiting() else Load(1.0, 0.0)

    def _clear(self) -> None:
        self._busy_s, self._delay_s, self._rows = 0.0, 0.0, 0
