"""Forgets feedback on request, exactly: erase it everywhere, serve without it, then say so."""

import asyncio
from dataclasses import dataclass

from honed_adapt import versions
from honed_adapt.feedback import Record, UnknownFeedback
from honed_adapt.messages import Wake
from honed_server.catalogue import Catalogue, Entry, decision
from honed_server.errors import Unavailable
from honed_server.lifecycle import Lifecycle
from honed_server.predictions import PredictionLog
from honed_server.recall import Recall
from honed_server.rpc import Call


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The record of a deletion.

    Attributes:
        position: Log position of the deletion, 0 if there was nothing left to delete.
        version, revision: What serves without it.
        tainted: Versions on disk that were learned from it.
        tombstones: For each id what is left of it, or why there is nothing.
    """

    position: int
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
    ) -> None:
        self._catalogue = catalogue
        self._lifecycle = lifecycle
        self._predictions = predictions
        self._recall = recall

    async def forget(self, entry: Entry, ids: list[str], who: str, call: Call) -> Forgotten:
        """Deletes feedback and returns when a version without it serves.

        The erasure is durable first; repeating an interrupted deletion finishes it.

        Raises:
            Unavailable: Erased from the log, but the adapt process did not answer in time.
        """
        c, name = self._catalogue, entry.row.name
        self._recall.forget()
        # First, since the log is the only place that knows which predictions these were.
        links = await asyncio.to_thread(self._links, name, ids)
        await asyncio.wrap_future(self._predictions.forget(name, links))
        async with entry.lock:  # no version may be returned to between deletion and taint
            deletion = await asyncio.wrap_future(c.log.delete(name, ids, who))
            tombstones = [left for left in deletion.tombstones if isinstance(left, Record)]
            tainted = await self._taint(name, tombstones)
            target = max((left.deleted_position for left in tombstones), default=0)
            entry.log_position = max(entry.log_position, target)
            entry.deletion_position = max(entry.deletion_position, target)
        if target:
            await asyncio.wrap_future(c.log.erase())
            c.tell_adapt(Wake(target))
            await self._serve_without(entry, target, call)
        serving = c.serving(name)
        return Forgotten(
            deletion.position, serving.version, serving.revision, tainted, deletion.tombstones
        )

    async def forget_model(self, entry: Entry, who: str) -> int:
        """Takes a model out of service and erases its feedback; returns how many labels."""
        c, name = self._catalogue, entry.row.name
        async with entry.lock:
            forgotten = await asyncio.wrap_future(c.log.delete_model(name, who))
            await asyncio.wrap_future(self._predictions.forget_model(name))
            await asyncio.wrap_future(c.log.erase())
            # Last: once this is on record the deletion cannot be repeated to finish it.
            record = decision(name, "delete", "deleted", actor=who, reason="on request")
            await asyncio.wrap_future(c.registry.delete_model(name, record))
            c.entries.pop(name, None)
            c.table.remove(name)
            self._recall.forget()
            # What was answered meanwhile; from now on the text of such an answer is not logged.
            await asyncio.wrap_future(self._predictions.forget_model(name))
            c.pool.drop_unused()
            await asyncio.to_thread(versions.remove_model, c.home / "models", name)
        c.tell_adapt(c.models_message())
        return forgotten

    def _links(self, model: str, ids: list[str]) -> list[tuple[str, str]]:
        """(prediction id, text) of the entries, read before they are erased."""
        return [(r.prediction_id, r.text) for r in self._catalogue.log.find(model, ids)]

    async def _taint(self, model: str, tombstones: list[Record]) -> list[int]:
        """Marks the versions that had learned the entries; those that are marked by now."""
        first: dict[int, int] = {}
        for left in tombstones:
            deletion = left.deleted_position
            first[deletion] = min(first.get(deletion, left.position), left.position)
        tainted: list[int] = []
        for deletion, position in first.items():
            taint = self._catalogue.registry.taint(model, position, deletion)
            numbers = await asyncio.wrap_future(taint)
            tainted.extend(numbers)
        return sorted(tainted)

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
        async with entry.lock:
            if max(entry.version_position, entry.row.pinned_at) < position:
                await self._lifecycle.checkpoint(entry, "deletion", "deletion", gated=False)
