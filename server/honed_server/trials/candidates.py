"""Decides what becomes of candidates: at the first look, on trial, and after promotion.

An offered head passes the gate, or is refused, or goes on trial. A trial that is decided by audits
ends in a promotion or a refusal. What was promoted is watched: if the version before proves better
on audits, it serves again. A person may promote or roll back at any time, over all of this.
"""

import asyncio

import structlog

from honed_adapt.gate.policy import Policy
from honed_adapt.gate.trials import Standing, spent
from honed_adapt.process.messages import Candidate, Verdict
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.policies import demands_of
from honed_server.models.registry import DecisionRow, VersionRow, VersionState
from honed_server.models.shelf import Draft, Shelf
from honed_server.serving.generations import LoadedEncoder
from honed_server.trials import gate
from honed_server.trials.book import TrialBook, TrialRow
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
        lifecycle: Serves earlier versions again.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        trials: Trials,
        book: TrialBook,
        lifecycle: Lifecycle,
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._trials = trials
        self._book = book
        self._lifecycle = lifecycle
        trials.decide = self.decide
        trials.go_on = self._go_on

    async def take(self, offer: Candidate) -> Verdict:
        """Verifies, judges and records an offered head; serves it or tries it as that turns out.

        One that was learned from what has been deleted since is "stale", and no version.

        Raises:
            UnknownModel: No such model.
            NotReady: Its encoder is not here or is damaged.
            HeadError: The head must not be served.
        """
        c, name = self._catalogue, offer.model
        entry = c.entry(name)
        loaded = await c.pool.get(offer.encoder_digest)
        offer.head.validate(loaded.encoder.hidden)
        async with entry.lock:
            # Deletions take the lock too, and mark the versions that there are by then.
            if await asyncio.to_thread(self._learned_deleted, offer):
                return Verdict(name, 0, "stale", "feedback was deleted meanwhile")
            judged = await self._first_look(entry, offer, loaded)
            if judged.outcome == "promoted":
                await self._lifecycle.keep_serving(entry)
            draft, record = await self._drafted(entry, offer, loaded, judged)
            if judged.outcome == "promoted":
                version = await self._shelf.lay(name, draft, record)
                turn = self._trials.ending(
                    entry, "superseded", "gate", f"version {version.version} serves"
                )
                await self._lifecycle.serve_promoted(
                    entry, version, record, turn, judged.anchor_right, recorded=False
                )
            else:
                version = await self._shelf.write(name, draft, record)
            if judged.outcome == "candidate" and not entry.row.paused:
                await self._try(entry, version, judged)
        c.metrics.candidates.labels(name, judged.outcome).inc()
        return Verdict(name, version.version, judged.outcome, judged.reason)

    def _learned_deleted(self, offer: Candidate) -> bool:
        deletions = self._catalogue.log.deletions(offer.model, offer.log_position)
        return any(one.first_position <= offer.log_position for one in deletions)

    async def _first_look(
        self, entry: Entry, offer: Candidate, loaded: LoadedEncoder
    ) -> gate.Judged:
        """What the gate says, and what this candidate costs of the false promotions allowed."""
        name = entry.row.name
        policy = self._catalogue.policies.of(name)
        number = await asyncio.to_thread(self._book.candidates, name) + 1
        judged = await gate.judge_candidate(
            self._catalogue, entry, offer.head, loaded, demands_of(policy, number)
        )
        outcome, reason = judged.outcome, judged.reason
        if entry.row.paused and outcome == "promoted":
            outcome, reason = "candidate", f"{reason}; not promoted, because learning is paused"
        cost = {"candidate": number, "alpha_spent": spent(number, policy.alpha)}
        return gate.Judged(outcome, reason, {**judged.numbers, **cost})

    async def _drafted(
        self, entry: Entry, offer: Candidate, loaded: LoadedEncoder, judged: gate.Judged
    ) -> tuple[Draft, DecisionRow]:
        """The offer as a version to be written, and the decision about it."""
        c, name = self._catalogue, entry.row.name
        number = await asyncio.to_thread(c.registry.next_version, name)
        record = decision(
            name, "gate", judged.outcome,
            actor="gate", reason=judged.reason, version=number, numbers=judged.numbers,
        )  # fmt: skip
        refused = judged.outcome == "refused"
        draft = Draft(
            number=number,
            parent=entry.row.active_version,
            revision=offer.log_position,
            head=offer.head,
            label_set_version=await asyncio.wrap_future(
                c.registry.label_set_number(name, offer.head.labels)
            ),
            loaded=loaded,
            source=offer.source,
            state=VersionState.REFUSED if refused else VersionState.CANDIDATE,
            seed=offer.seed,
            hyper_parameters=offer.hyper_parameters,
            metrics={**offer.metrics, **judged.numbers},
        )
        return draft, record

    async def decide(self, entry: Entry, row: TrialRow, standing: Standing) -> None:
        """Does what a trial has come to."""
        async with entry.lock:
            if self._trials.of(row.model) is not row:
                return
            match standing.outcome:
                case "promoted":
                    await self._promote(entry, row, standing)
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
        async with entry.lock:
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

    async def _try(self, entry: Entry, version: VersionRow, judged: gate.Judged) -> None:
        """Puts a candidate on trial: in the place of an older one, or after a watch has ended."""
        present = self._trials.of(entry.row.name)
        manual = self._catalogue.policies.of(entry.row.name).promotion == "manual"
        if manual or (present is not None and present.kind == "watch"):
            return
        reason = f"version {version.version}, which has learned more, takes its place"
        turn = self._trials.ending(entry, "superseded", "gate", reason)
        e_needed = float(judged.numbers["e_needed"])
        turn.begins = candidate_trial(self._catalogue, entry, version, judged.anchor, e_needed)
        await self._trials.take(entry, turn)

    async def _promote(self, entry: Entry, row: TrialRow, standing: Standing) -> None:
        """Serves a candidate that audits have proven better, if the anchor set still agrees."""
        c = self._catalogue
        version = self._shelf.find(row.model, row.version)
        if entry.row.paused or version.tainted_position:
            return  # after a rollback a person decides; what must be forgotten never serves
        rival, votes = await self._trials.rival(entry, row), await self._trials.votes(row)
        demands = self._trials.demands(row)
        judged = await gate.judge_candidate(c, entry, rival.head, rival.loaded, demands, votes)
        if judged.outcome == "refused":
            await self._end(entry, "refused", judged.reason, standing, refused=True)
        if judged.outcome != "promoted":
            return
        await self._lifecycle.keep_serving(entry)
        record = decision(
            row.model, "gate", "promoted", actor="gate", reason=f"on trial: {judged.reason}",
            version=row.version, numbers={**judged.numbers, **standing.numbers},
        )  # fmt: skip
        turn = self._trials.ending(entry, "promoted", "gate", judged.reason, standing=standing)
        try:
            right = judged.anchor_right
            await self._lifecycle.serve_promoted(entry, version, record, turn, right)
        except NotReady as error:
            await self._end(entry, "refused", f"it cannot serve: {error}", standing)

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
        if self._trials.of(name) or entry.row.paused or policy.promotion == "manual":
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
