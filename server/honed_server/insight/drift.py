"""Watches traffic and audits for change: what is drawn, what an alarm does, what callers see.

Errors come from AUDIT labels as they are recorded; those in quarantine say nothing. Texts need no
label: their vectors are taken from what the engine has answered anyway, at most one for each
interval and model, and only a fixed random projection of them is kept. A restart begins the
reference of texts anew.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.feedback.log import Ack, FeedbackError, NewFeedback
from honed_adapt.feedback.questions import Labelled, answers
from honed_adapt.feedback.values import Kind
from honed_adapt.insight.drift import Errors
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.insight.watch import RECENT, Alarm, Raised, Turn
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow
from honed_server.serving.generations import Generation

log = structlog.get_logger(__name__)

OWN_TENANT = "honed"
"""Tenant of what the server asks itself: it is no traffic."""

_CHOSEN = (Kind.CORRECTION, Kind.CONFIRMATION)
_RAISED, _OVER = "alarm", "over"


class DriftWatch:
    """Feeds what is watched of each model, and raises alarms. Event loop only.

    Args:
        catalogue: The models.
        interval_s: Least time between two texts of a model that are looked at.

    Attributes:
        on_alarm: Called with the entry and the kind of each alarm that is raised.
    """

    def __init__(self, catalogue: Catalogue, interval_s: float) -> None:
        self._catalogue = catalogue
        self._interval_s = interval_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing = asyncio.Lock()  # or an earlier look could overtake a later one
        self._due: set[str] = set()
        self.on_alarm: Callable[[Entry, Alarm], None] = lambda _entry, _alarm: None

    async def load(self) -> None:
        """Takes up what the log and the registry say; before the first call."""
        for entry in self._catalogue.entries.values():
            await self.reload(entry)
            name, watched = entry.row.name, entry.watch
            decisions = await asyncio.to_thread(self._catalogue.registry.decisions, name, -1)
            watched.alarms, watched.raised = _standing(decisions)

    async def reload(self, entry: Entry) -> None:
        """Reads anew which answers were right."""
        name, ask, until = entry.row.name, self._catalogue.log.ask, entry.log_position

        def known(kinds: Sequence[Kind]) -> list[Labelled]:
            found = ask(lambda db: answers(db, name, kinds, RECENT))
            return [one for one in found if one.position <= until]

        def all_known() -> tuple[list[Labelled], list[Labelled], Errors]:
            audited, errors = known([Kind.AUDIT]), Errors()
            for one in audited:
                errors.observe(not one.right)
            return audited, known(_CHOSEN), errors

        entry.watch.restore(*await asyncio.to_thread(all_known), until)

    def recounted(self, entry: Entry) -> None:
        """Hears that labels of a model say nothing any more, or do so again."""
        if entry.row.name not in self._due:
            self._due.add(entry.row.name)
            self._do(self._renew(entry))

    async def _renew(self, entry: Entry) -> None:
        async with self._renewing:
            self._due.discard(entry.row.name)
            await self.reload(entry)
        self._act(entry, entry.watch.over())

    def labelled(
        self, entry: Entry, items: Sequence[NewFeedback], acks: Sequence[Ack | FeedbackError]
    ) -> None:
        """Hears of labels that were recorded."""
        for item, ack in zip(items, acks, strict=True):
            if not isinstance(ack, Ack) or ack.already_recorded:
                continue
            if item.kind is Kind.RETRACTION:
                self.recounted(entry)
            elif item.predicted_label and item.submitter not in entry.distrusted:
                right = item.predicted_label == item.label
                self._act(entry, entry.watch.label(Labelled(ack.position, item.kind, right)))

    def text(self, generation: Generation, tenant: str, vector: NDArray[np.float32]) -> None:
        """Hears of a text that was answered; looks at it if one is due."""
        entry, now = self._catalogue.entries.get(generation.model), monotonic()
        if entry is None or tenant == OWN_TENANT or now < entry.watch.next_s:
            return
        entry.watch.next_s = now + self._interval_s
        encoder = generation.loaded.encoder
        self._act(entry, entry.watch.text(vector, (encoder.digest, encoder.precision)))
        if (shift := entry.watch.shift) is not None:
            self._catalogue.metrics.text_shift.labels(entry.row.name).set(shift.excess)

    def _act(self, entry: Entry, turn: Turn | None) -> None:
        name, metrics, watched = entry.row.name, self._catalogue.metrics, entry.watch
        metrics.audited_error.labels(name).set(watched.errors.error)
        if turn is None:
            return
        alarm, raised = turn
        record = self._decided(entry, alarm, raised)
        if raised:
            watched.raised[alarm] = replace(watched.raised[alarm], since=record.time)
            watched.alarms += 1
            metrics.drift_alarms.labels(name, alarm).inc()
            self.on_alarm(entry, alarm)
        self._do(self._record(entry, record))

    def _decided(self, entry: Entry, alarm: Alarm, raised: bool) -> DecisionRow:
        watched = entry.watch
        standing = watched.raised.get(alarm, Raised(0.0))
        return decision(
            entry.row.name,
            "drift",
            _RAISED if raised else _OVER,
            actor="drift",
            reason=_REASONS[alarm, raised],
            version=entry.row.active_version,
            numbers={
                "alarm": alarm,
                "error": watched.errors.error,
                "before": standing.before,
                "window": watched.errors.window,
                "text_shift": watched.shift.excess if watched.shift else 0.0,
            },
        )

    async def _record(self, entry: Entry, record: DecisionRow) -> None:
        await asyncio.wrap_future(self._catalogue.registry.record(record))
        if record.model in self._catalogue.entries:
            self._catalogue.announce(entry, pb.ModelEvent.KIND_DRIFT)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(_settled, self._tasks))


_REASONS: dict[tuple[Alarm, bool], str] = {
    ("error", True): "audited answers are wrong more often than before",
    ("error", False): "audited answers are wrong no more often than before the alarm",
    ("embedding", True): "texts are not what they were",
    ("embedding", False): "what came since the alarm is what texts are compared with now",
}


def _settled(tasks: "set[asyncio.Task[None]]", done: "asyncio.Task[None]") -> None:
    tasks.discard(done)
    if done.cancelled() or (error := done.exception()) is None:
        return
    if not isinstance(error, StoreError):
        raise error
    log.warning("an alarm is not on record", why=str(error))


def _standing(decisions: Sequence[DecisionRow]) -> tuple[int, dict[Alarm, Raised]]:
    """How many alarms there were, and those that stand."""
    raised: dict[Alarm, Raised] = {}
    alarms = 0
    for row in decisions:
        if row.kind != "drift":
            continue
        alarm: Alarm = row.numbers["alarm"]
        if row.outcome == _RAISED:
            alarms += 1
            raised[alarm] = Raised(row.time, row.numbers["before"])
        else:
            raised.pop(alarm, None)
    return alarms, raised
