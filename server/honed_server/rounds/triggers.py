"""Starts rounds by themselves, where a model's policy says when. Event loop only.

It hears of labels, alarms and ends of rounds; for what only time brings there is one timer a model.
New labels are counted in a thread, and not again until so many have come that it may matter.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial

import structlog

from honed_adapt.feedback.rows import IS_LABEL
from honed_adapt.gate.policy import Policy
from honed_adapt.process.round_due import Since, Trigger, due, next_look_s
from honed_adapt.storage import vectors_file
from honed_adapt.storage.errors import StoreError
from honed_server.config import ServerConfig
from honed_server.edge.errors import ServingError
from honed_server.insight.drift import DriftWatch
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.rounds.files import sweep_work
from honed_server.rounds.rounds import ASKED_AT, Rounds
from honed_server.rounds.rows import RoundRow

log = structlog.get_logger(__name__)

_NEW_LABELS = f"SELECT count(*) FROM log e WHERE e.model = ? AND e.position > ? AND {IS_LABEL}"

_NEVER = 1 << 62


class RoundTriggers:
    """Looks at models when something has happened to them, one look at a time for each.

    Args:
        rounds: Where rounds are started.
        catalogue: The models, their labels and policies.
    """

    def __init__(self, rounds: Rounds, catalogue: Catalogue) -> None:
        self._rounds = rounds
        self._catalogue = catalogue
        self._policy = catalogue.policies.of
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._until_look: dict[str, int] = {}
        rounds.on_ended = self._hear_ended

    def hear_labels(self, entry: Entry, labels: int) -> None:
        """Looks at a model that has got new labels, if they may be enough by now."""
        name = entry.row.name
        self._until_look[name] = self._until_look.get(name, 0) - labels
        if self._until_look[name] <= 0:
            self.consider(entry)

    def consider(self, entry: Entry) -> None:
        """Starts a round, in a moment, if the model's policy calls for one now."""
        name = entry.row.name
        if not _calls_ever(self._policy(name)):
            self._forget_timer(name)
        elif name in self._looks:
            self._again.add(name)
        else:
            self._looks[name] = asyncio.create_task(self._look(entry))

    async def close(self) -> None:
        """Forgets the timers and ends the looks."""
        for timer in self._timers.values():
            timer.cancel()
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def _hear_ended(self, row: RoundRow) -> None:
        """What has fallen due while a round was under way is due at its end."""
        for name in row.models:
            if (entry := self._catalogue.entries.get(name)) is not None:
                self.consider(entry)

    async def _look(self, entry: Entry) -> None:
        name = entry.row.name
        self._again.add(name)
        try:
            while name in self._again:
                self._again.discard(name)
                self._until_look[name] = 0  # what comes meanwhile may not have been counted
                await self._look_once(entry)
        except StoreError as error:
            log.warning("new labels were not counted", model=name, why=str(error))
        finally:
            del self._looks[name]

    async def _look_once(self, entry: Entry) -> None:
        name = entry.row.name
        since, policy = await self._since(entry), self._policy(name)
        self._forget_timer(name)
        needed, look_s = _needed(policy, since), next_look_s(policy, since)
        if self._rounds.under_way(name) is not None:
            needed, look_s = _NEVER, None  # its end is told
        elif (trigger := due(policy, since)) is not None:
            started = await self._start(name, trigger)
            needed, look_s = (_NEVER, None) if started else (1, policy.round_interval_s)
        self._until_look[name] += needed
        if look_s:
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(look_s, self.consider, entry)

    def _forget_timer(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    async def _start(self, name: str, trigger: Trigger) -> bool:
        try:
            await self._rounds.start(name, trigger=trigger, actor="policy")
        except ServingError as error:
            log.warning("no round was started", model=name, why=str(error))
            return False
        return True

    async def _since(self, entry: Entry) -> Since:
        name = entry.row.name
        last = next(iter(self._rounds.listed(name)), None)
        began, position = entry.row.created, 0
        if last is not None:
            began, position = last.created, int(last.metrics[ASKED_AT].get(name, 0))
        raised = max((one.since for one in entry.watch.raised.values()), default=0.0)
        count = partial(
            self._catalogue.log.ask, lambda db: db.execute(_NEW_LABELS, (name, position)).get
        )
        labels = await asyncio.to_thread(count)
        return Since(int(labels), time.time() - began, drifting=raised > began)


def _calls_ever(policy: Policy) -> bool:
    return bool(policy.round_labels or policy.round_interval_s or policy.round_on_drift)


def _needed(policy: Policy, since: Since) -> int:
    """New labels without which no look at the model would find more than this one did."""
    if since.labels <= 0:
        return 1
    return max(1, policy.round_labels - since.labels) if policy.round_labels else _NEVER


async def begin_rounds(
    parts: AsyncExitStack,
    catalogue: Catalogue,
    drift: DriftWatch,
    config: ServerConfig,
    default_encoder: str,
) -> Rounds:
    """Has rounds started when they are due, until `parts` ends it; tidies up what they left."""
    rounds = Rounds(
        catalogue,
        catalogue.policies.of,
        max_encoders=config.max_encoders,
        learns=config.adapt,
        default_encoder=default_encoder,
    )
    sweep_work(config.home, [row.round_id for row in rounds.active()])
    vectors_file.sweep(config.home)
    await rounds.tidy()
    triggers = RoundTriggers(rounds, catalogue)
    parts.push_async_callback(triggers.close)
    catalogue.on_labels.append(lambda entry, items, _acks: triggers.hear_labels(entry, len(items)))
    drift.on_alarm = lambda entry, _alarm: triggers.consider(entry)
    catalogue.on_policy.append(triggers.consider)
    for entry in catalogue.entries.values():
        triggers.consider(entry)
    return rounds
