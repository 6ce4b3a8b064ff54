"""Decides which version serves next: promote, roll back, pause, resume.

All of it works while the adapt process is down. The order is always the same: write aside and
verify, record in the registry (the commit point), swap one reference, tell the adapt process.
"""

import asyncio
from collections.abc import Mapping, Sequence

import apsw

from honed_adapt.feedback.log import State
from honed_adapt.process import messages
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.feedback.retention import wholly
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.catching_up import CatchingUp
from honed_server.models.checkpoints import Checkpoints
from honed_server.models.quarantine import record_quarantine
from honed_server.models.registry import DecisionRow, Pins, VersionRow, VersionState
from honed_server.models.registry_rows import insert_version, record_decision
from honed_server.models.shelf import Shelf
from honed_server.trials.trials import Trials
from honed_server.trials.turns import Turn, watch_trial


class Lifecycle:
    """The decisions about versions. Event loop only.

    Args:
        catalogue: The models they are about.
        shelf: Their versions on disk.
        trials: What is compared with what serves.
        checkpoint_revisions: Revisions after which the serving head becomes a version.
        learns: Whether there is an adapt process at all.

    Attributes:
        checkpoints: Makes what serves a version.
        catching_up: Has candidates catch up with what serves.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        trials: Trials,
        checkpoint_revisions: int,
        *,
        learns: bool,
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._trials = trials
        self._learns = learns
        self.checkpoints = Checkpoints(catalogue, shelf, checkpoint_revisions)
        self.catching_up = CatchingUp(catalogue)
        self.catching_up.on_caught_up = trials.look

    async def promote(self, model: str, number: int, actor: str, deadline: float) -> Entry:
        """Serves a candidate by hand, or makes the serving revision a version (number 0).

        One of a fine-tuning round learns first what came since, if there is an adapt process.

        Args:
            model: Name.
            number: Of the version.
            actor: Who asks.
            deadline: On the monotonic clock, for catching up.

        Raises:
            NotFound: No such version.
            NotReady: It is no candidate, was learned from feedback that was deleted since, cannot
                be read, or has not caught up in time.
        """
        entry = self._catalogue.entry(model)
        if number == 0:
            await wholly(self.checkpoints.make_by_hand(entry, actor))
            return entry
        version = self._promotable(model, number)
        waiting = self.catching_up.waiting(
            entry, version.encoder_digest, version.log_position,
            deadline=deadline, wanted=lambda: self._learns,
        )  # fmt: skip
        async with waiting:
            await wholly(self._promote(entry, number, actor))
        return entry

    async def _promote(self, entry: Entry, number: int, actor: str) -> None:
        model, ahead, learned = entry.row.name, self.catching_up, None
        async with self._catalogue.hold(entry):
            version = self._promotable(model, number)
            digest = version.encoder_digest
            if self._learns and await ahead.needed(entry, digest, version.log_position):
                learned = ahead.found(entry, digest)
                if learned is None:
                    raise NotReady(
                        f"version {number} has not caught up yet with what was learned since it "
                        "was made: promote it again, with a later deadline; or pause learning, "
                        "and it serves as it is",
                        reason="CATCHING_UP",
                    )
            await self.checkpoints.keep(entry)
            record = decision(
                model, "promote", "promoted", actor=actor, reason="by hand", version=number
            )
            reason = f"version {number} serves by hand"
            turn = self._trials.ending(entry, "overridden", actor, reason)
            await self.serve_promoted(entry, version, record, turn, learned=learned)

    def _promotable(self, model: str, number: int) -> VersionRow:
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
        return version

    async def serve_promoted(
        self,
        entry: Entry,
        version: VersionRow,
        record: DecisionRow,
        turn: Turn,
        reference: int | None = None,
        *,
        recorded: bool = True,
        learned: messages.Revision | None = None,
    ) -> None:
        """Serves a version and watches it, on record as one; the caller holds the entry's lock.

        Args:
            entry: The model; what serves is a version, see `Checkpoints.keep`.
            version: What was promoted.
            record: The decision.
            turn: How the trial of the model ends.
            reference: Anchor texts that it answers rightly, if that is known.
            recorded: Whether the version is on record already.
            learned: What was learned over its encoder since it was made; serves with it.

        Raises:
            NotReady: It cannot be read; then nothing has changed.
        """
        before = self._shelf.find(entry.row.name, entry.row.active_version)
        turn.begins = watch_trial(self._catalogue, entry, before, version)
        if learned is not None:
            await record_quarantine(self._catalogue, entry, learned)
        row = entry.row
        suspect = (row.suspect_from, row.suspect_to)
        pins = Pins(version.version, version.log_position, *suspect) if row.paused else None

        def with_it(db: apsw.Connection) -> None:
            if not recorded:
                insert_version(db, version)
            turn.write(db)
            if learned is not None:
                record_decision(db, recipes.carried(version, learned))

        kind = pb.ModelEvent.KIND_VERSION
        await self._shelf.serve(entry, version, record, kind, pins, with_it, learned)
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
        async with self._catalogue.hold(entry):
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
        async with c.hold(entry):
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
        async with c.hold(entry):
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
