"""Decides what becomes of candidates: at the first look, on trial, and after promotion.

An offered head passes the gate, or is refused, or goes on trial. A trial that is decided by audits
ends in a promotion or a refusal. What was promoted is watched: if the version before proves better
on audits, it serves again. A person may promote or roll back at any time, over all of this.
"""

import asyncio

import structlog

from honed_adapt.gate.evidence import Latency
from honed_adapt.gate.policy import Policy
from honed_adapt.gate.trials import Standing
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.shelf import Shelf
from honed_server.trials import gate
from honed_server.trials.book import TrialBook, TrialRow
from honed_server.trials.latency import Latencies
from honed_server.trials.trials import Trials
from honed_server.trials.turns import Turn, candidate_trial

log = structlog.get_logger(__name__)


class Candidates:
    """The decisions about candidates. Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions.
        trials: Those that go on.
        book: Trials on record.
        lifecycle: Serves other versions.
        latencies: Compare what answers cost.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        trials: Trials,
        book: TrialBook,
        lifecycle: Lifecycle,
        latencies: Latencies,
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._trials = trials
        self._book = book
        self._lifecycle = lifecycle
        self._latencies = latencies
        trials.decide = self.decide
        trials.go_on = self._go_on

    async def decide(self, entry: Entry, row: TrialRow, standing: Standing) -> None:
        """Does what a trial has come to."""
        latency = await self._latency(entry, row) if standing.outcome == "promoted" else None
        async with self._catalogue.hold(entry):
            if self._trials.of(row.model) is not row:
                return
            match standing.outcome:
                case "promoted":
                    await self._promote(entry, row, standing, latency)
                case "worse":
                    await self._undo(entry, row, standing)
                case outcome:
                    await self._end(
                        entry, outcome, standing.reason, standing, refused=outcome == "refused"
                    )
            await self._go_on(entry)

    async def set_policy(self, entry: Entry, policy: Policy, actor: str) -> None:
        """Replaces the policy of a model, on record, and does what follows for its trial."""
        c, name = self._catalogue, entry.row.name
        async with c.hold(entry):
            before = c.policies.of(name).as_dict()
            changed = [key for key, value in policy.as_dict().items() if before[key] != value]
            record = decision(
                name, "policy", "set", actor=actor,
                reason=f"changes {', '.join(changed)}" if changed else "changes nothing",
                version=entry.row.active_version, numbers=policy.as_dict(),
            )  # fmt: skip
            await asyncio.wrap_future(c.policies.record(name, policy, record))
            trial = self._trials.of(name)
            if trial is not None and trial.kind == "candidate" and policy.promotion == "manual":
                reason = "the policy leaves promotion to a person"
                turn = self._trials.ending(entry, "undecided", actor, reason)
                await self._trials.take(entry, turn)
            self._trials.look(entry)
            c.announce(entry, pb.ModelEvent.KIND_POLICY)
            for hear in c.on_policy:
                hear(entry)

    async def _promote(
        self, entry: Entry, row: TrialRow, standing: Standing, latency: Latency | None
    ) -> None:
        """Serves a candidate that audits have proven better, if the anchor set still agrees."""
        c = self._catalogue
        version = self._shelf.find(row.model, row.version)
        if entry.row.paused or version.tainted_position:
            return  # after a rollback a person decides; what must be forgotten never serves
        rival, votes = await self._trials.rival(entry, row), await self._trials.votes(row)
        ahead, digest, learned = self._lifecycle.catching_up, version.encoder_digest, None
        if await ahead.needed(entry, digest, version.log_position):
            learned = ahead.found(entry, digest)
            if learned is None and (fault := ahead.fault(entry, digest)):
                await self._end(entry, "refused", f"it cannot serve: {fault}", standing)
                return
            if learned is None:  # the trial is looked at again when it has caught up
                ahead.want(entry, digest)
                return
        demands, head = self._trials.demands(row), learned.head if learned else rival.head
        judged = await gate.judge_candidate(c, entry, head, rival.loaded, demands, latency, votes)
        if judged.outcome == "refused" and learned is not None:
            return  # what came since has spoiled it, or it alone: the next label may mend that
        if judged.outcome == "refused":
            turn = self._trials.ending(
                entry, "refused", "gate", judged.reason,
                standing=standing, refused=True, numbers=judged.numbers,
            )  # fmt: skip
            await self._trials.take(entry, turn)
        if judged.outcome != "promoted":
            return
        await self._lifecycle.checkpoints.keep(entry)
        record = decision(
            row.model, "gate", "promoted", actor="gate", reason=f"on trial: {judged.reason}",
            version=row.version, numbers={**judged.numbers, **standing.numbers},
        )  # fmt: skip
        turn = self._trials.ending(entry, "promoted", "gate", judged.reason, standing=standing)
        try:
            right = judged.anchor_right
            await self._lifecycle.serve_promoted(
                entry, version, record, turn, right, learned=learned
            )
        except NotReady as error:
            await self._end(entry, "refused", f"it cannot serve: {error}", standing)

    async def _latency(self, entry: Entry, row: TrialRow) -> Latency | None:
        """What a long text costs with what serves and what would; without the lock.

        Measured once, and once more when it has caught up, since that head is another one.
        """
        found, rival = entry.rival.latencies, await self._trials.rival(entry, row)
        learned = self._lifecycle.catching_up.found(entry, rival.loaded.encoder.digest)
        latency = found.get(learned is not None)
        if latency is None:
            head = rival.head if learned is None else learned.head
            latency = await self._latencies.compare(entry, head, rival.loaded)
            found[learned is not None] = latency
        return latency

    async def _undo(self, entry: Entry, row: TrialRow, standing: Standing) -> None:
        """Serves the version before again, unless the policy keeps what was promoted."""
        if self._catalogue.policies.of(row.model).keep_worse:
            reason = f"{standing.reason}; the policy keeps it"
            await self._end(entry, "kept", reason, standing)
            return
        turn = self._trials.ending(entry, "worse", "gate", standing.reason, standing=standing)
        try:
            version = self._shelf.rollback_target(row.model, entry.row.active_version, row.version)
            await self._lifecycle.roll_back(
                entry, version, "gate", turn, standing.reason, standing.numbers
            )
        except NotReady as error:
            log.error("a worse version goes on serving", model=row.model, why=str(error))
            await self._end(entry, "kept", f"{standing.reason}; but {error}", standing)

    async def _end(
        self, entry: Entry, outcome: str, reason: str, standing: Standing, *, refused: bool = False
    ) -> None:
        """Ends the trial of a model by what audits have said, if there still is one."""
        turn = self._trials.ending(
            entry, outcome, "gate", reason, standing=standing, refused=refused
        )
        await self._trials.take(entry, turn)

    async def _go_on(self, entry: Entry) -> None:
        """Tries the candidate that has been waiting, if there is one and nothing else is tried."""
        name = entry.row.name
        policy = self._catalogue.policies.of(name)
        if self._trials.of(name):
            return
        self._lifecycle.catching_up.drop(entry)
        if entry.row.paused or policy.promotion == "manual":
            return
        number = await asyncio.to_thread(self._book.next_candidate, name)
        if not number:
            return
        version = self._shelf.find(name, number)
        try:
            stored = await self._shelf.read(version)
        except NotReady as error:
            log.warning("a candidate that waited cannot be tried", model=name, why=str(error))
            if error.reason == "VERSION_DAMAGED":  # now on record, so that it is not the next again
                await self._go_on(entry)
            return
        anchor = gate.Judged("candidate", "it has waited", stored.metrics).anchor
        e_needed = float(stored.metrics.get("e_needed", 1 / policy.alpha))
        begins = candidate_trial(self._catalogue, entry, version, anchor, e_needed)
        await self._trials.take(entry, Turn(begins=begins))
