"""What is left of a deletion to do, and its record: which versions still hold what was deleted.

Beside `forgetting.py`, which carries a deletion out as far as it can be carried out at once. Two
things can be left. If nobody learned at that time, or the server died, the next start finishes it.
And an encoder whose weights were trained on what was deleted forgets only by another round: until
then it may serve, at the latest until the deadline, whichever of the models that were trained
together it serves for. What nobody may return to is removed from disk.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf

import structlog

from honed_adapt.encoders.lineage import base_of
from honed_adapt.feedback.log import DeletionRow, FeedbackLog
from honed_adapt.head import Head
from honed_adapt.storage import versions
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady, ServingError, UnknownModel
from honed_server.feedback.holding import Held, Holdings, fallback
from honed_server.feedback.retention import DAY_S, wholly
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.registry import DecisionRow, VersionRow
from honed_server.models.registry_rows import insert_version, nothing
from honed_server.models.shelf import Draft, Shelf
from honed_server.rounds.rounds import Rounds
from honed_server.serving.predictions import PredictionLog

log = structlog.get_logger(__name__)

_TRIGGER = "deletion"
# Ids that the record of one deletion names, and those of all that one response holds.
_MOST_IDS, _ALL_IDS = 10_000, 100_000


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
        self._holdings = Holdings(catalogue, self._deadline_s)
        self._clock = clock
        self.rounds: Rounds | None = None

    async def begin(self) -> None:
        """Takes up what a crash or shutdown interrupted, before any model is served."""
        for row in self._catalogue.registry.models():
            if row.deleted:
                await self.remove(row.name, "start")
            else:
                await self.taint(row.name)
        await self.blank()

    async def remove(self, model: str, who: str) -> int:
        """Erases what is there of a model that is on record as deleted; returns how many labels.

        What was said and answered while its deletion was under way; nothing more is taken in.
        """
        c = self._catalogue
        forgotten = await asyncio.wrap_future(c.log.delete_model(model, who))
        await asyncio.wrap_future(self._predictions.forget_model(model))
        await asyncio.to_thread(versions.remove_model, c.home / "models", model)
        return forgotten

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
        async with c.hold(entry):
            if max(entry.version_position, entry.row.pinned_at) < position:
                await lifecycle.checkpoints.make(entry, "deletion", "deletion", gated=False)
            noted = c.log.note_served(name, position, c.serving(name).revision)
            await asyncio.wrap_future(noted)

    async def watch(self) -> None:
        """Looks at the start and once a day whether a deadline has passed."""
        while True:
            await wholly(self.settle_all())
            await asyncio.sleep(DAY_S)

    async def settle_all(self) -> None:
        """Settles every model; one that cannot be now is looked at again the next day."""
        await self._settle_each(list(self._catalogue.entries))

    async def settle_others(self, model: str) -> None:
        """Settles the other models that hold what was deleted of one, which may be gone itself."""
        held = await asyncio.to_thread(self._held_of, model)
        await self._settle_each({one.version.model for one in held} - {model})

    async def _settle_each(self, models: Iterable[str]) -> None:
        for name in models:
            try:
                if (entry := self._catalogue.entries.get(name)) is not None:
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
            with suppress(UnknownModel):
                await wholly(self.save(entry, position, lifecycle))
                await wholly(self.settle(entry))

    async def settle(self, entry: Entry) -> None:
        """Removes versions nobody may return to, and retires what is past the deadline."""
        async with entry.lock:
            if self._catalogue.entries.get(entry.row.name) is not entry:
                return  # deleted meanwhile
            held = await asyncio.to_thread(self._holdings.within, entry.row.name)
            active = entry.row.active_version
            now = self._clock()
            late = [one for one in held if one.retire_time <= now]
            if active in {one.version.version for one in late}:
                await self._retire_active(entry, held)
                active = entry.row.active_version
            gone = {one.version.version: one.deletion.position for one in late[::-1]}
            gone.pop(active, None)
            if gone:
                await self._remove(entry.row.name, gone)
        if self.rounds is not None and any(
            one.in_encoder and one.version.version in gone for one in late
        ):
            await self.rounds.tidy()  # the weights themselves
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
        held = self._holdings.of(model)
        return [(one, held(one)) for one in found]

    def _held_of(self, model: str) -> list[Held]:
        held = self._holdings.of(model)
        return [one for row in self._catalogue.log.deletions(model) for one in held(row)]

    async def _retire_active(self, entry: Entry, held: Sequence[Held]) -> None:
        c, name, old = self._catalogue, entry.row.name, entry.row.active_version
        rows = await asyncio.to_thread(c.registry.versions, name)
        row = clean = fallback(rows, {one.version.version for one in held})
        number = clean.version if clean else await asyncio.to_thread(c.registry.next_version, name)
        record = decision(
            name, "retire", "activated", actor="deadline", version=number,
            reason=f"version {old} was trained on feedback that has been deleted",
            numbers={"retired": old},
        )  # fmt: skip
        if row is None:
            row = await self._empty(entry, number, record)
        with_it = nothing if clean else partial(insert_version, row=row)
        kind = pb.ModelEvent.KIND_ROLLBACK
        await self._shelf.serve(entry, row, record, kind, with_it=with_it)
        entry.anchor_reference = None

    async def _empty(self, entry: Entry, number: int, record: DecisionRow) -> VersionRow:
        """A version that knows nothing yet, over the encoder that training began with.

        For a model that began over an encoder that a round had trained: all its labels are learned
        again from there.
        """
        c, name = self._catalogue, entry.row.name
        digest = c.serving(name).loaded.encoder.digest
        loaded = await c.pool.get(await asyncio.to_thread(base_of, c.home, digest))
        labels = await asyncio.wrap_future(c.registry.label_set_number(name, ()))
        head, parent = Head.empty(loaded.encoder.hidden), entry.row.active_version
        draft = Draft(number, parent, 0, head, labels, loaded, source="deletion")
        return await self._shelf.lay(name, draft, record)

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

    async def _remove(self, model: str, gone: Mapping[int, int]) -> None:
        """Removes versions; `gone` has the log position of a deletion for the number of each."""
        record = decision(
            model, "retire", "removed", actor="deletion",
            reason="learned from feedback that has been deleted",
            numbers={"versions": sorted(gone), "deletions": sorted({*gone.values()})},
        )  # fmt: skip
        await asyncio.wrap_future(self._catalogue.registry.remove_versions(model, gone, record))
        root = self._catalogue.home / "models"
        for number in gone:
            await asyncio.to_thread(versions.remove, root, model, number)
