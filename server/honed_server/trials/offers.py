"""Takes offered heads: verifies, has them catch up and judged, and records each as a version.

What passes the gate serves; what is no worse goes on trial, of which `candidates.py` has the rest.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from honed_adapt.gate.evidence import Latency
from honed_adapt.gate.trials import spent
from honed_adapt.process.messages import Candidate, Revision, Verdict
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.policies import demands_of
from honed_server.models.registry import DecisionRow, VersionRow, VersionState
from honed_server.models.shelf import Draft, Shelf
from honed_server.serving.generations import LoadedEncoder
from honed_server.trials import gate
from honed_server.trials.book import TrialBook
from honed_server.trials.latency import Latencies
from honed_server.trials.trials import Trials
from honed_server.trials.turns import candidate_trial

# A trainer waits so long for its candidate to learn what came since; then that goes on trial.
_CATCH_UP_S = 600.0


class Offers:
    """Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions.
        trials: Those that go on.
        book: Trials on record.
        lifecycle: Serves what is promoted.
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

    async def take(self, offer: Candidate, wanted: Callable[[], bool] = lambda: True) -> Verdict:
        """Verifies, judges and records an offered head; serves it or tries it as that turns out.

        That of a round learns first what came since. One that was learned from what has been
        deleted since is "stale", and no version.

        Args:
            offer: The head.
            wanted: Whether the offer still stands: asked while it waits, and when it was judged.

        Raises:
            UnknownModel: No such model.
            NotReady: Its encoder is not here or is damaged.
            HeadError: The head must not be served.
        """
        c, name, digest = self._catalogue, offer.model, offer.encoder_digest
        entry = c.entry(name)
        loaded = await c.pool.get(digest)
        offer.head.validate(loaded.encoder.hidden)
        await gate.anchor_vectors(c, entry, loaded)
        ahead, deadline = self._lifecycle.catching_up, monotonic() + _CATCH_UP_S
        waiting = ahead.waiting(entry, digest, offer.log_position, deadline=deadline, wanted=wanted)
        async with waiting:
            would_serve = ahead.found(entry, digest) or offer
            latency = await self._latencies.compare(entry, would_serve.head, loaded)
            async with c.hold(entry):
                # Deletions take the lock too, and mark the versions that there are by then.
                if await asyncio.to_thread(self._learned_deleted, offer):
                    return Verdict(name, 0, "stale", "feedback was deleted meanwhile")
                learned = None
                if await ahead.needed(entry, digest, offer.log_position):
                    learned = ahead.found(entry, digest)
                if learned is not None:
                    offer = replace(offer, log_position=learned.revision, head=learned.head)
                judged, version = await self._judged(entry, offer, loaded, latency, learned, wanted)
        c.metrics.candidates.labels(name, judged.outcome).inc()
        self._trials.look(entry)
        return Verdict(name, version.version, judged.outcome, judged.reason)

    async def _judged(
        self,
        entry: Entry,
        offer: Candidate,
        loaded: LoadedEncoder,
        latency: Latency | None,
        learned: Revision | None,
        wanted: Callable[[], bool],
    ) -> tuple[gate.Judged, VersionRow]:
        """Does with an offer what the gate says; the caller holds the entry's lock."""
        name = offer.model
        judged = await self._first_look(entry, offer, loaded, latency)
        if not wanted():  # perhaps since it was judged
            judged = gate.Judged("refused", "its round was cancelled", judged.numbers)
        if judged.outcome == "promoted":
            await self._lifecycle.checkpoints.keep(entry)
        draft, record = await self._drafted(entry, offer, loaded, judged)
        if judged.outcome == "promoted":
            version = await self._shelf.lay(name, draft, record)
            turn = self._trials.ending(
                entry, "superseded", "gate", f"version {version.version} serves"
            )
            await self._lifecycle.serve_promoted(
                entry, version, record, turn, judged.anchor_right, recorded=False, learned=learned
            )
        else:
            version = await self._shelf.write(name, draft, record)
        if judged.outcome == "candidate" and not entry.row.paused:
            await self._try(entry, version, judged)
        return judged, version

    def _learned_deleted(self, offer: Candidate) -> bool:
        deletions = self._catalogue.log.deletions(offer.model, offer.log_position)
        return any(one.first_position <= offer.log_position for one in deletions)

    async def _first_look(
        self, entry: Entry, offer: Candidate, loaded: LoadedEncoder, latency: Latency | None
    ) -> gate.Judged:
        """What the gate says, and what this candidate costs of the false promotions allowed."""
        name = entry.row.name
        policy = self._catalogue.policies.of(name)
        number = await asyncio.to_thread(self._book.candidates, name) + 1
        judged = await gate.judge_candidate(
            self._catalogue, entry, offer.head, loaded, demands_of(policy, number), latency
        )
        outcome, reason = judged.outcome, judged.reason
        if outcome == "promoted" and (fault := await self._cannot_serve(entry, offer)):
            outcome, reason = "candidate", f"{reason}; not promoted, because {fault}"
        cost = {"candidate": number, "alpha_spent": spent(number, policy.alpha)}
        return gate.Judged(outcome, reason, {**judged.numbers, **cost})

    async def _cannot_serve(self, entry: Entry, offer: Candidate) -> str | None:
        if entry.row.paused:
            return "learning is paused"
        digest, position = offer.encoder_digest, offer.log_position
        if await self._lifecycle.catching_up.needed(entry, digest, position):
            return "it has not caught up with what was learned since"
        return None

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

    async def _try(self, entry: Entry, version: VersionRow, judged: gate.Judged) -> None:
        """Puts a candidate on trial: in the place of an older one, or after a watch has ended."""
        self._lifecycle.catching_up.drop(entry)
        present = self._trials.of(entry.row.name)
        manual = self._catalogue.policies.of(entry.row.name).promotion == "manual"
        if manual or (present is not None and present.kind == "watch"):
            return
        reason = f"version {version.version}, which has learned more, takes its place"
        turn = self._trials.ending(entry, "superseded", "gate", reason)
        e_needed = float(judged.numbers["e_needed"])
        turn.begins = candidate_trial(self._catalogue, entry, version, judged.anchor, e_needed)
        await self._trials.take(entry, turn)
