"""What is left of a deletion to do, and its record: which versions still hold what was deleted.

Beside `forgetting.py`, which carries a deletion out as far as it can be carried out at once. Two
things can be left. If nobody learned at that time, or the server died, the next start finishes it.
And an encoder whose weights were trained on what was deleted forgets only by another round: until
then it may serve, at the latest until the deadline. What nobody may return to is removed from disk.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import structlog

from honed_adapt.encoders.lineage import trained_to
from honed_adapt.feedback.log import DeletionRow, FeedbackLog
from honed_adapt.storage import versions
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady, ServingError
from honed_server.feedback.retention import DAY_S, wholly
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.registry import VersionRow, VersionState
from honed_server.models.shelf import Shelf
from honed_server.rounds.rounds import Rounds
from honed_server.serving.predictions import PredictionLog

log = structlog.get_logger(__name__)

_TRIGGER = "deletion"
# Ids that the record of one deletion names, and those of all that one response holds.
_MOST_IDS, _ALL_IDS = 10_000, 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """A version that was learned from deleted feedback.

    Attributes:
        version: It.
        deletion: The first deletion of anything that it was learned from.
        in_head: Whether its head was learned from it.
        in_encoder: Whether its encoder was trained on it.
        retire_time: When it is out of service at the latest, Unix seconds.
    """

    version: VersionRow
    deletion: DeletionRow
    in_head: bool
    in_encoder: bool
    retire_time: float


def holding(
    deletion: DeletionRow,
    rows: Sequence[VersionRow],
    seen_to: Mapping[str, int],
    active: int,
    deadline_s: float,
) -> list[Held]:
    """The versions that hold what a deletion erased. Pure.

    Args:
        deletion: The deletion.
        rows: Versions of the model.
        seen_to: By encoder: log position of the last label that its weights were trained on.
        active: The version that serves.
        deadline_s: How long an encoder, or what serves, may stay after a deletion.
    """
    held = []
    for row in rows:
        in_head = deletion.first_position <= row.log_position < deletion.position
        in_encoder = (
            deletion.first_position <= seen_to.get(row.encoder_digest, 0) < deletion.position
        )
        if (in_head or in_encoder) and not row.removed:
            # A head forgets at once: nothing speaks for returning to this one.
            at_once = in_head and row.version != active
            until = deletion.time + (0.0 if at_once else deadline_s)
            held.append(Held(row, deletion, in_head, in_encoder, until))
    return held


def fallback(rows: Sequence[VersionRow], held: Collection[int]) -> VersionRow | None:
    """The newest version that served before and holds nothing that was deleted. Pure.

    One without a label comes last: it answers only when what is left has been learned again.
    """
    able = [
        row
        for row in rows
        if row.version not in held
        and not row.removed
        and not row.tainted_position
        and row.state in (VersionState.ACTIVE, VersionState.RETIRED)
    ]
    return max(able, key=lambda row: (row.num_labels > 0, row.version), default=None)


def pending(log: FeedbackLog, model: str) -> int:
    """Log position of the last deletion that what serves may still hold; 0 if there is none."""
    rows = log.deletions(model)
    return max((row.position for row in rows if not row.served_revision), default=0)


class Deletions:
    """Finishes deletions and keeps their record. Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions.
        predictions: Where answers are forgotten.
        deadline_days: Days after which no version that was trained on deleted feedback serves.
        clock: Unix seconds.

    Attributes:
        rounds: Where another round is asked for, once there is such a place.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        predictions: PredictionLog,
        deadline_days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._predictions = predictions
        self._deadline_s = deadline_days * DAY_S
        self._clock = clock
        self.rounds: Rounds | None = None

    async def begin(self) -> None:
        """Takes up what a crash or shutdown interrupted, before any model is served."""
        await self.blank()
        for row in self._catalogue.registry.models():
            if not row.deleted:
                await self.taint(row.name)

    async def taint(self, model: str) -> list[int]:
        """Marks the versions learned from what unfinished deletions erased; those marked now."""
        numbers: list[int] = []
        for row in await asyncio.to_thread(self._catalogue.log.deletions, model):
            if not row.served_revision:
                taint = self._catalogue.registry.taint(model, row.first_position, row.position)
                marked = await asyncio.wrap_future(taint)
                numbers.extend(marked)
        return sorted(numbers)

    async def blank(self) -> None:
        """Blanks all that is marked as deleted, and wipes the bytes; answers to it go first.

        Only an entry that is not blanked tells which answers these were, so that whoever repeats
        this after a crash finds them again.
        """
        feedback = self._catalogue.log
        while marked := await asyncio.to_thread(feedback.marked):
            links: dict[str, list[tuple[str, str]]] = {}
            for one in marked:
                links.setdefault(one.model, []).append((one.prediction_id, one.text))
            for model, its in links.items():
                await asyncio.wrap_future(self._predictions.forget(model, its))
            await asyncio.wrap_future(feedback.blank([one.position for one in marked]))
        await asyncio.wrap_future(feedback.erase())

    async def save(self, entry: Entry, position: int, lifecycle: Lifecycle) -> None:
        """Makes what serves, which has forgotten, a version, and notes that it has."""
        c, name = self._catalogue, entry.row.name
        async with entry.lock:
            if max(entry.version_position, entry.row.pinned_at) < position:
                await lifecycle.checkpoints.make(entry, "deletion", "deletion", gated=False)
            noted = c.log.note_served(name, position, c.serving(name).revision)
            await asyncio.wrap_future(noted)

    async def watch(self, lifecycle: Lifecycle) -> None:
        """Finishes what is pending, then looks once a day whether a deadline has passed."""
        await self.finish(lifecycle)
        while True:
            await wholly(self.settle_all())
            await asyncio.sleep(DAY_S)

    async def settle_all(self) -> None:
        """Settles every model; one that cannot be now is looked at again the next day."""
        for name, entry in list(self._catalogue.entries.items()):
            try:
                await self.settle(entry)
            except (ServingError, StoreError, OSError) as error:
                log.error("a deletion is not finished", model=name, why=str(error))

    async def finish(self, lifecycle: Lifecycle) -> None:
        """Finishes what was pending at the start, model by model, as learning catches up."""
        c = self._catalogue
        for name, entry in list(c.entries.items()):
            position = pending(c.log, name)
            if not position:
                continue

            def forgotten(name: str = name, entry: Entry = entry, position: int = position) -> bool:
                return name not in c.entries or c.has_forgotten(entry, position)

            await c.events.until(name, forgotten, inf)
            if name in c.entries:
                await wholly(self.save(entry, position, lifecycle))
                await wholly(self.settle(entry))

    async def settle(self, entry: Entry) -> None:
        """Removes versions nobody may return to, and retires what is past the deadline."""
        async with entry.lock:
            held = await asyncio.to_thread(self._held, entry.row.name)
            active = entry.row.active_version
            now = self._clock()
            late = [one for one in held if one.retire_time <= now]
            if active in {one.version.version for one in late}:
                await self._retire_active(entry, held)
                active = entry.row.active_version
            gone = {one.version.version for one in late} - {active}
            if gone:
                await self._remove(entry.row.name, sorted(gone), late)
        # When half of the time is over, so that one round does for many deletions.
        trained_on = [one for one in held if one.in_encoder and one.version.version == active]
        for one in trained_on:
            if one.deletion.time + self._deadline_s / 2 <= now:
                await self._ask_round(one)

    def records(self, model: str, after: int = 0) -> list[tuple[DeletionRow, list[Held]]]:
        """The deletions of a model past a position, oldest first, and what still holds of them."""
        count = len(self._catalogue.log.deletions(model, after))
        ids = min(_MOST_IDS, _ALL_IDS // max(count, 1))
        found = self._catalogue.log.deletions(model, after, ids)
        held = self._holding(model)
        return [(one, held(one)) for one in found]

    def _held(self, model: str) -> list[Held]:
        held = self._holding(model)
        return [one for row in self._catalogue.log.deletions(model) for one in held(row)]

    def _holding(self, model: str) -> Callable[[DeletionRow], list[Held]]:
        """What says, for each deletion, which versions of the model hold of it now."""
        rows = [row for row in self._catalogue.registry.versions(model) if not row.removed]
        digests = {row.encoder_digest for row in rows}
        seen_to = {one: trained_to(self._catalogue.home, one, model) for one in digests}
        entry = self._catalogue.entries.get(model)
        active = entry.row.active_version if entry else 0
        return lambda row: holding(row, rows, seen_to, active, self._deadline_s)

    async def _retire_active(self, entry: Entry, held: Sequence[Held]) -> None:
        c, name, old = self._catalogue, entry.row.name, entry.row.active_version
        rows = await asyncio.to_thread(c.registry.versions, name)
        row = fallback(rows, {one.version.version for one in held})
        if row is None:
            log.error("no version without deleted feedback is left", model=name, version=old)
            return
        record = decision(
            name, "retire", "activated", actor="deadline", version=row.version,
            reason=f"version {old} was trained on feedback that has been deleted",
            numbers={"retired": old},
        )  # fmt: skip
        await self._shelf.serve(entry, row, record, pb.ModelEvent.KIND_ROLLBACK)
        entry.anchor_reference = None

    async def _ask_round(self, held: Held) -> None:
        """Starts a round that trains without what was deleted, unless one was started for that."""
        name = held.version.model
        if self.rounds is None or any(
            row.trigger == _TRIGGER and row.created >= held.deletion.time
            for row in self.rounds.listed(name)
        ):
            return
        try:
            await self.rounds.start(name, trigger=_TRIGGER, actor="deletion")
        except NotReady as error:
            log.warning("no round to forget by", model=name, why=str(error))

    async def _remove(self, model: str, numbers: Sequence[int], held: Sequence[Held]) -> None:
        positions = sorted({h.deletion.position for h in held if h.version.version in numbers})
        record = decision(
            model, "retire", "removed", actor="deletion",
            reason="learned from feedback that has been deleted",
            numbers={"versions": list(numbers), "deletions": positions},
        )  # fmt: skip
        await asyncio.wrap_future(self._catalogue.registry.remove_versions(model, numbers, record))
        root = self._catalogue.home / "models"
        for number in numbers:
            await asyncio.to_thread(versions.remove, root, model, number)
