"""Decides which version serves next: checkpoint, promote, roll back, pause, resume.

All of it works while the adapt process is down. The order is always the same: write aside and
verify, record in the registry (the commit point), swap one reference, tell the adapt process.
"""

import asyncio
from collections.abc import Mapping, Sequence

import apsw
import structlog

from honed_adapt.feedback.log import State
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow, Pins, VersionRow, VersionState
from honed_server.models.registry_rows import insert_version
from honed_server.models.shelf import Draft, Shelf
from honed_server.trials import gate
from honed_server.trials.trials import Trials
from honed_server.trials.turns import Turn, watch_trial

log = structlog.get_logger(__name__)


class Lifecycle:
    """The decisions about versions. Event loop only.

    Args:
        catalogue: The models they are about.
        shelf: Their versions on disk.
        trials: What is compared with what serves.
        checkpoint_revisions: Revisions after which the serving head becomes a version.
    """

    def __init__(
        self, catalogue: Catalogue, shelf: Shelf, trials: Trials, checkpoint_revisions: int
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._trials = trials
        self._checkpoint_revisions = checkpoint_revisions

    async def checkpoint(self, entry: Entry, source: str, actor: str, *, gated: bool) -> None:
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

    async def checkpoint_when_due(self, entry: Entry) -> None:
        """Checkpoints after the first labels of a model and then at the set cadence."""
        serving = self._catalogue.serving(entry.row.name)
        first = entry.version_source == "create" and serving.revision >= entry.log_position
        if entry.unsaved >= self._checkpoint_revisions or first:
            async with entry.lock:
                await self.checkpoint(entry, "checkpoint", "cadence", gated=True)

    async def promote(self, model: str, number: int, actor: str) -> Entry:
        """Serves a candidate by hand, or makes the serving revision a version (number 0).

        Raises:
            NotFound: No such version.
            NotReady: It is no candidate, was learned from feedback that was deleted since, or
                cannot be read.
        """
        entry = self._catalogue.entry(model)
        async with entry.lock:
            if number == 0:
                await self.checkpoint(entry, "checkpoint", actor, gated=False)
                return entry
            version = self._shelf.find(model, number)
            if version.state not in (VersionState.CANDIDATE, VersionState.REFUSED):
                raise NotReady(
                    f"version {number} is {version.state.name.lower()}; promote takes candidates, "
                    "roll back to return to an earlier version",
                    reason="NOT_A_CANDIDATE",
                )
            if version.tainted_position:
                raise NotReady(
                    f"version {number} was learned from feedback deleted at log position "
                    f"{version.tainted_position}; promote one that does not contain it, or start a "
                    "round to learn without it",
                    reason="CANNOT_PROMOTE",
                )
            await self.keep_serving(entry)
            record = decision(
                model, "promote", "promoted", actor=actor, reason="by hand", version=number
            )
            turn = self._trials.ending(
                entry, "overridden", actor, f"version {number} serves by hand"
            )
            await self.serve_promoted(entry, version, record, turn)
        return entry

    async def keep_serving(self, entry: Entry) -> None:
        """Makes what serves a version, so that it is what the promoted one is compared with."""
        try:
            await self.checkpoint(entry, "checkpoint", "gate", gated=True)
        except NotReady as error:
            log.warning("the last version is the one before", model=entry.row.name, why=str(error))

    async def serve_promoted(
        self,
        entry: Entry,
        version: VersionRow,
        record: DecisionRow,
        turn: Turn,
        reference: int | None = None,
        *,
        recorded: bool = True,
    ) -> None:
        """Serves a version and watches it, on record as one; the caller holds the entry's lock.

        Args:
            entry: The model; what serves is a version, see `keep_serving`.
            version: What was promoted.
            record: The decision.
            turn: How the trial of the model ends.
            reference: Anchor texts that it answers rightly, if that is known.
            recorded: Whether the version is on record already.

        Raises:
            NotReady: It cannot be read; then nothing has changed.
        """
        before = self._shelf.find(entry.row.name, entry.row.active_version)
        turn.begins = watch_trial(self._catalogue, entry, before, version)
        row = entry.row
        suspect = (row.suspect_from, row.suspect_to)
        pins = Pins(version.version, version.log_position, *suspect) if row.paused else None

        def with_it(db: apsw.Connection) -> None:
            if not recorded:
                insert_version(db, version)
            turn.write(db)

        kind = pb.ModelEvent.KIND_VERSION
        await self._shelf.serve(entry, version, record, kind, pins, with_it)
        entry.anchor_reference = reference
        self._trials.taken(entry, turn)

    async def rollback(self, model: str, number: int, actor: str) -> Entry:
        """Serves an earlier version, pauses adaptation, names the log range under suspicion.

        Raises:
            NotFound: No such version.
            NotReady: It never served, is damaged, knows no label, or was learned from feedback
                that was deleted since.
        """
        entry = self._catalogue.entry(model)
        async with entry.lock:
            version = self._shelf.rollback_target(model, entry.row.active_version, number)
            reason = f"version {version.version} serves again"
            turn = self._trials.ending(entry, "overridden", actor, reason)
            await self.roll_back(entry, version, actor, turn)
        return entry

    async def roll_back(
        self,
        entry: Entry,
        version: VersionRow,
        actor: str,
        turn: Turn,
        why: str = "",
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        """Serves a version that may be returned to; the caller holds the entry's lock.

        Args:
            entry: The model.
            version: What to serve.
            actor: Who decided so.
            turn: How the trial of the model ends.
            why: For the record, before what is under suspicion.
            numbers: Behind the decision.
        """
        served = self._catalogue.serving(entry.row.name).revision  # may be ahead of what was acked
        first, last = version.log_position + 1, max(entry.log_position, served)
        suspect = (first, last) if last >= first else (0, 0)
        pins = Pins(version.version, version.log_position, *suspect)
        record = decision(
            entry.row.name,
            "rollback",
            "activated",
            actor=actor,
            reason=f"{f'{why}; ' if why else ''}feedback at positions {suspect[0]} to {suspect[1]}"
            " is under suspicion",
            version=version.version,
            numbers={**(numbers or {}), "suspect_from": suspect[0], "suspect_to": suspect[1]},
        )
        kind = pb.ModelEvent.KIND_ROLLBACK
        await self._shelf.serve(entry, version, record, kind, pins, turn.write)
        self._trials.taken(entry, turn)
        await recipes.go_back(self._catalogue, entry, version, last)

    async def pause(self, model: str, actor: str) -> Entry:
        """Stops learning at the serving revision."""
        c = self._catalogue
        entry = c.entry(model)
        async with entry.lock:
            if entry.row.paused:
                return entry
            serving = c.serving(model)
            record = decision(
                model, "pause", "paused", actor=actor, reason="on request",
                version=serving.version, numbers={"revision": serving.revision},
            )  # fmt: skip
            pins = Pins(serving.version, serving.revision)
            pause = c.registry.pause(model, record, pins)
            entry.row = await asyncio.wrap_future(pause)
            c.renew(entry)
            c.announce(entry, pb.ModelEvent.KIND_PAUSED)
        return entry

    async def resume(
        self, model: str, *, exclude_suspected: bool, exclude_submitter: str, actor: str
    ) -> Entry:
        """Learns again, leaving out what is named; exclusion is on the record and replayed."""
        c = self._catalogue
        entry = c.entry(model)
        async with entry.lock:
            if not entry.row.paused:
                return entry
            row = entry.row
            excluded: Sequence[int] = ()
            if exclude_suspected or exclude_submitter:
                submitter = "" if exclude_suspected else exclude_submitter
                excluded = c.log.positions(model, row.suspect_from, row.suspect_to, submitter)
            record = decision(
                model,
                "resume",
                "resumed",
                actor=actor,
                reason=f"on request; {len(excluded)} labels left out",
                numbers={"excluded_positions": list(excluded)},
            )
            if excluded:
                mark = c.log.mark(excluded, State.EXCLUDED, record.decision_id)
                await asyncio.wrap_future(mark)
                for hear in c.on_set_aside:
                    hear(entry)
            # Some revision up to here may have been served without what counts again from now on.
            entry.log_position = await asyncio.wrap_future(c.log.resume(model, actor))
            entry.row = await asyncio.wrap_future(c.registry.resume(model, record))
            c.renew(entry)
            c.announce(entry, pb.ModelEvent.KIND_RESUMED)
            self._trials.look(entry)
        return entry
