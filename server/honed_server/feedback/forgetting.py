"""Forgets feedback on request, exactly: erase it everywhere, serve without it, then say so."""

import asyncio
from dataclasses import dataclass

from honed_adapt.feedback.log import DeletionRow, Record, Selector, UnknownFeedback
from honed_adapt.process.messages import Wake
from honed_server.edge.errors import Unavailable
from honed_server.edge.rpc import Call
from honed_server.feedback.deletions import Deletions
from honed_server.feedback.holding import Held
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.serving.predictions import PredictionLog
from honed_server.serving.recall import Recall


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The record of a deletion.

    Attributes:
        position: Log position of the deletion, 0 if there was nothing left to delete.
        newest: Of the last deletion of any of it, this or an earlier one; 0 if there was none.
        entries: How many this one deleted.
        version, revision: What serves without it.
        tainted: Versions on disk that were learned from it.
        tombstones: For each id what is left of it, or why there is nothing.
    """

    position: int
    newest: int
    entries: int
    version: int
    revision: int
    tainted: list[int]
    tombstones: list[Record | UnknownFeedback]


class Forgetting:
    """Carries out deletions. Event loop only."""

    def __init__(
        self,
        catalogue: Catalogue,
        lifecycle: Lifecycle,
        predictions: PredictionLog,
        recall: Recall,
        deletions: Deletions,
    ) -> None:
        self._catalogue = catalogue
        self._lifecycle = lifecycle
        self._predictions = predictions
        self._recall = recall
        self._deletions = deletions

    async def forget(self, entry: Entry, selector: Selector, who: str, call: Call) -> Forgotten:
        """Deletes feedback and returns when a version without it serves.

        The erasure is durable first; repeating an interrupted deletion finishes it, and so does the
        next start of the server.

        Raises:
            Unavailable: Erased from the log, but the adapt process did not answer in time.
        """
        c, name = self._catalogue, entry.row.name
        self._recall.forget()
        async with c.hold(entry):  # no version may be returned to between deletion and taint
            done = await asyncio.wrap_future(c.log.delete(name, selector, who))
            tainted = await self._deletions.taint(name)
            entry.log_position = max(entry.log_position, done.newest)
            entry.deletion_position = max(entry.deletion_position, done.newest)
        for hear in c.on_forgotten:
            hear(entry)
        if done.newest:
            await self._deletions.blank()
            c.tell_adapt(Wake(done.newest))
            await self._serve_without(entry, done.newest, call)
            await self._deletions.settle(entry)
            await self._deletions.settle_others(name)
        serving = c.serving(name)
        return Forgotten(
            done.position, done.newest, done.entries, serving.version, serving.revision, tainted,
            done.tombstones,
        )  # fmt: skip

    def records(self, model: str, after: int) -> list[tuple[DeletionRow, list[Held]]]:
        """The deletions of a model past a log position; see `Deletions.records`. In a thread."""
        return self._deletions.records(model, after)

    async def forget_model(self, entry: Entry, who: str) -> int:
        """Takes a model out of service and erases its feedback; returns how many labels."""
        c, name = self._catalogue, entry.row.name
        async with c.hold(entry):
            forgotten = await asyncio.wrap_future(c.log.delete_model(name, who))
            await asyncio.wrap_future(self._predictions.forget_model(name))
            await self._deletions.blank()
            # Once this is on record nobody can ask again; what is left then the next start does.
            record = decision(name, "delete", "deleted", actor=who, reason="on request")
            await asyncio.wrap_future(c.registry.delete_model(name, record))
            c.entries.pop(name, None)
            c.table.remove(name)
            self._recall.forget()
            forgotten += await self._deletions.remove(name, who)
            await self._deletions.blank()
            c.pool.drop_unused()
        c.tell_adapt(c.models_message())
        await self._deletions.settle_others(name)
        return forgotten

    async def _serve_without(self, entry: Entry, position: int, call: Call) -> None:
        """Waits for the revision without the entries and makes it a version."""
        c, name = self._catalogue, entry.row.name
        served = await c.events.until(
            name,
            lambda: name not in c.entries or c.has_forgotten(entry, position),
            call.patience_s(),
        )
        if not served:
            raise Unavailable(
                f"erased from the log at position {position}, but the model that serves has not "
                "forgotten it yet: the adapt process did not answer; delete again to finish",
                reason="DELETION_PENDING",
                retry_after_s=1.0,
            )
        await self._deletions.save(entry, position, self._lifecycle)
