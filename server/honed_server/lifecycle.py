"""Decides which version serves next: checkpoint, promote, roll back, pause, resume, candidates.

All of it works while the adapt process is down. The order is always the same: write aside and
verify, record in the registry (the commit point), swap one reference, tell the adapt process.
"""

import asyncio
from collections.abc import Sequence

from honed_adapt.feedback import State
from honed_adapt.messages import Candidate, Verdict
from honed_proto.v1 import models_pb2 as pb
from honed_server import gate
from honed_server.catalogue import Catalogue, Entry, decision
from honed_server.errors import NotReady
from honed_server.registry import Pins, VersionState
from honed_server.shelf import Draft, Shelf


class Lifecycle:
    """The decisions about versions. Event loop only.

    Args:
        catalogue: The models they are about.
        shelf: Their versions on disk.
        checkpoint_revisions: Revisions after which the serving head becomes a version.
    """

    def __init__(self, catalogue: Catalogue, shelf: Shelf, checkpoint_revisions: int) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
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
        """Serves a candidate by hand, or makes the serving revision a version (number 0)."""
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
            record = decision(
                model, "promote", "promoted", actor=actor, reason="by hand", version=number
            )
            row, kind = entry.row, pb.ModelEvent.KIND_VERSION
            suspect = (row.suspect_from, row.suspect_to)
            pins = Pins(number, version.log_position, *suspect) if row.paused else None
            await self._shelf.serve(entry, version, record, kind, pins)
            entry.anchor_reference = None
        return entry

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
            served = self._catalogue.serving(
                model
            ).revision  # may be ahead of what was acknowledged
            first, last = version.log_position + 1, max(entry.log_position, served)
            suspect = (first, last) if last >= first else (0, 0)
            pins = Pins(version.version, version.log_position, *suspect)
            record = decision(
                model,
                "rollback",
                "activated",
                actor=actor,
                reason=f"feedback at positions {suspect[0]} to {suspect[1]} is under suspicion",
                version=version.version,
                numbers={"suspect_from": suspect[0], "suspect_to": suspect[1]},
            )
            await self._shelf.serve(entry, version, record, pb.ModelEvent.KIND_ROLLBACK, pins)
        return entry

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
            # Some revision up to here may have been served without what counts again from now on.
            entry.log_position = await asyncio.wrap_future(c.log.resume(model, actor))
            entry.row = await asyncio.wrap_future(c.registry.resume(model, record))
            c.renew(entry)
            c.announce(entry, pb.ModelEvent.KIND_RESUMED)
        return entry

    async def take_candidate(self, offer: Candidate) -> Verdict:
        """Verifies, records and judges an offered head; serves it if the gate lets it pass.

        Raises:
            UnknownModel: No such model.
            NotReady: Its encoder is not here or is damaged.
            HeadError: The head must not be served.
        """
        c = self._catalogue
        entry = c.entry(offer.model)
        loaded = await c.pool.get(offer.encoder_digest)
        offer.head.validate(loaded.encoder.hidden)
        async with entry.lock:
            number = await asyncio.to_thread(c.registry.next_version, offer.model)
            judged = await gate.judge_candidate(c, entry, offer, loaded)
            if entry.row.paused and judged.outcome == "promoted":
                reason = f"{judged.reason}; not promoted, because learning is paused"
                judged = gate.Judged("candidate", reason, judged.numbers)
            record = decision(
                offer.model, "gate", judged.outcome,
                actor="gate", reason=judged.reason, version=number, numbers=judged.numbers,
            )  # fmt: skip
            refused = judged.outcome == "refused"
            draft = Draft(
                number=number,
                parent=entry.row.active_version,
                revision=offer.log_position,
                head=offer.head,
                label_set_version=await asyncio.wrap_future(
                    c.registry.label_set_number(offer.model, offer.head.labels)
                ),
                loaded=loaded,
                source="candidate",
                state=VersionState.REFUSED if refused else VersionState.CANDIDATE,
                seed=offer.seed,
                hyper_parameters=offer.hyper_parameters,
                metrics={**offer.metrics, **judged.numbers},
            )
            version = await self._shelf.write(offer.model, draft, record)
            if judged.outcome == "promoted":
                await self._shelf.serve(entry, version, record, pb.ModelEvent.KIND_VERSION)
                entry.anchor_reference = judged.numbers.get("candidate_correct")
        return Verdict(offer.model, number, judged.outcome, judged.reason)
