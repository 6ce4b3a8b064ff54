"""Makes what serves a version: after the first labels, at a set cadence, before it is replaced."""

import asyncio

import structlog

from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.shelf import Draft, Shelf
from honed_server.trials import gate

log = structlog.get_logger(__name__)


class Checkpoints:
    """Writes them. Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions on disk.
        revisions: After so many the serving head becomes a version.
    """

    def __init__(self, catalogue: Catalogue, shelf: Shelf, revisions: int) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._revisions = revisions

    async def make(self, entry: Entry, source: str, actor: str, *, gated: bool) -> None:
        """Makes the serving revision a version; the caller holds the entry's lock.

        Args:
            entry: The model.
            source: "checkpoint" or "deletion", for the record.
            actor: Who asks.
            gated: Whether the gate may refuse; it refuses neither people nor forgetting.

        Raises:
            NotReady: A deletion is pending: a version would keep what was deleted.
        """
        c = self._catalogue
        name = entry.row.name
        serving = c.serving(name)
        if serving.revision == entry.version_position and source == "checkpoint":
            return
        if not c.has_forgotten(entry, entry.deletion_position):
            raise NotReady(
                "what serves has not forgotten yet what was deleted; delete again to finish that",
                reason="DELETION_PENDING",
            )
        judged = await gate.judge_checkpoint(c, self._shelf, entry) if gated else gate.BY_HAND
        number = await asyncio.to_thread(c.registry.next_version, name)
        record = decision(
            name,
            "gate" if gated else "promote",
            judged.outcome,
            actor="gate" if gated else actor,
            reason=judged.reason,
            version=number,
            numbers=judged.numbers,
        )
        entry.unsaved = 0
        if judged.outcome != "promoted":
            await asyncio.wrap_future(c.registry.record(record))
            return
        draft = Draft(
            number, entry.row.active_version, serving.revision, serving.head,
            serving.label_set_version, serving.loaded, source,
            metrics={**judged.numbers, **entry.weighed},
        )  # fmt: skip
        version = await self._shelf.write(name, draft, record)
        await self._shelf.activate(entry, version, record)
        c.publish(
            entry, number, serving.revision, serving.label_set_version, serving.head,
            kind=pb.ModelEvent.KIND_VERSION,
        )  # fmt: skip

    async def make_by_hand(self, entry: Entry, actor: str) -> None:
        """Makes the serving revision a version because somebody asks."""
        async with self._catalogue.hold(entry):
            await self.make(entry, "checkpoint", actor, gated=False)

    async def make_when_due(self, entry: Entry) -> None:
        """Checkpoints after the first labels of a model and then at the set cadence."""
        serving = self._catalogue.serving(entry.row.name)
        first = entry.version_source == "create" and serving.revision >= entry.log_position
        if entry.unsaved >= self._revisions or first:
            async with self._catalogue.hold(entry):
                await self.make(entry, "checkpoint", "cadence", gated=True)

    async def keep(self, entry: Entry) -> None:
        """Makes what serves a version, so that it is what the promoted one is compared with."""
        try:
            await self.make(entry, "checkpoint", "gate", gated=True)
        except NotReady as error:
            log.warning("the last version is the one before", model=entry.row.name, why=str(error))
