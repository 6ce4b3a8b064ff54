"""What is kept for a time only, texts of labels and answers, and how much submitters may send."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any, TypeVar

import structlog

from honed_adapt.feedback.log import FeedbackLog
from honed_adapt.storage.errors import StoreError
from honed_server.edge.errors import Overloaded
from honed_server.serving.predictions import PredictionLog

log = structlog.get_logger(__name__)
T = TypeVar("T")

DAY_S = 86_400.0
_MINUTE_S = 60.0
# Texts blanked in one transaction: labels that arrive meanwhile need not wait.
_STEP_TEXTS = 1_000
# Submitters that are remembered; those who have their whole allowance need not be.
_MOST_BUCKETS = 10_000


class Retention:
    """Erases texts of labels and answers that are older than they may be. Event loop only.

    Args:
        log: The feedback log.
        predictions: The prediction log, which knows how long it keeps answers.
        days: Days that the text of a label is kept; None keeps it for ever.
        clock: Unix seconds.
    """

    def __init__(
        self,
        log: FeedbackLog,
        predictions: PredictionLog,
        days: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._predictions = predictions
        self._days = days
        self._clock = clock

    async def watch(self) -> None:
        """Looks at once and then every day."""
        while True:
            for what, erase in (("texts of labels", self.blank), ("answers", self.prune)):
                try:
                    if erased := await erase():
                        log.info(f"{what} were past their time", erased=erased)
                except StoreError as error:
                    log.error(f"{what} stay past their time", why=str(error))
            await asyncio.sleep(DAY_S)

    async def prune(self) -> int:
        """Erases answers that are too old or too many; returns how many."""
        pruned, step = 0, 1
        while step:
            step = await asyncio.wrap_future(self._predictions.prune(self._clock()))
            pruned += step
        return pruned

    async def blank(self) -> int:
        """Blanks what is too old, and wipes the bytes; returns how many texts."""
        if self._days is None:
            return 0
        before, blanked, step = self._clock() - self._days * DAY_S, 0, _STEP_TEXTS
        while step == _STEP_TEXTS:
            step = await asyncio.wrap_future(self._log.forget_texts(before, _STEP_TEXTS))
            blanked += step
        if blanked:
            await asyncio.wrap_future(self._log.erase())
        return blanked


class Rates:
    """How many labels each submitter may still send: a token bucket of a minute. Event loop only.

    Args:
        per_minute: Labels a minute for each submitter; those who give no name share one allowance.
        clock: Seconds of any steady clock.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = monotonic) -> None:
        self._most = per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, wanted: Mapping[str, int]) -> None:
        """Takes labels off the allowances of their submitters, or nothing at all.

        Args:
            wanted: How many labels of each submitter.

        Raises:
            Overloaded: Somebody sends too many; says when it makes sense to try again.
        """
        now = self._clock()
        left = {name: self._allowance(name, now) for name in wanted}
        for name, number in wanted.items():
            # One call may always take a whole allowance, however small that is.
            missing = min(number, self._most) - left[name]
            if missing > 0:
                raise Overloaded(
                    f"submitter {name!r} sends more than {self._most:g} labels a minute; wait, or "
                    "raise labels_per_minute on the server",
                    reason="SUBMITTER_RATE",
                    retry_after_s=missing * _MINUTE_S / self._most,
                )
        for name, number in wanted.items():
            self._left[name] = (left[name] - number, now)
        if len(self._left) > _MOST_BUCKETS:
            self._left = {
                n: b for n, b in self._left.items() if self._allowance(n, now) < self._most
            }

    def _allowance(self, name: str, now: float) -> float:
        left, since = self._left.get(name, (self._most, now))
        return min(left + (now - since) * self._most / _MINUTE_S, self._most)


def begin_chores(parts: AsyncExitStack, *chores: Coroutine[Any, Any, None]) -> None:
    """Has what is looked at from time to time run until `parts` ends it."""

    async def end(task: asyncio.Task[None]) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    for task in map(asyncio.create_task, chores):
        parts.push_async_callback(end, task)


async def wholly(work: Coroutine[Any, Any, T]) -> T:
    """Does something that must not be left half done, also if whoever waits has gone meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
