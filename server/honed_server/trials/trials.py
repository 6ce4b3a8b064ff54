"""Trials as they go on: answers what audits label with both sides, and counts who was right.

A label has reached the log and the adapt process is about to learn it. What serves at this moment
cannot have learned it, and neither can the rival: a candidate, or the version before the one that
was promoted. So both answer its text, in a thread that yields to serving, and the log keeps the
right to say later that the label does not count. `honed_adapt.gate.trials` says where that leads,
and `candidates.py` acts on it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import structlog

from honed_adapt.feedback.values import Ack, FeedbackError, NewFeedback
from honed_adapt.gate.evidence import Demands
from honed_adapt.gate.trials import Standing, Vote, candidate_standing, watch_standing
from honed_adapt.head import HeadError
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady, ServingError
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.models.policies import demands_of
from honed_server.models.registry import VersionRow
from honed_server.models.shelf import Shelf, Stored
from honed_server.serving.canary import Canary, Rival
from honed_server.serving.generations import Generation
from honed_server.trials.ballots import Audit, audits_among, cast
from honed_server.trials.book import TrialBook, TrialRow
from honed_server.trials.turns import Turn, ending, void

log = structlog.get_logger(__name__)

# Batches of audits that wait to be answered; each holds on to the head that served then.
_MOST_BEHIND = 16

Decide = Callable[[Entry, TrialRow, Standing], Awaitable[None]]
GoOn = Callable[[Entry], Awaitable[None]]


class Trials:
    """The open trials, at most one for each model. Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions.
        book: Trials and votes on record.

    Attributes:
        decide: Does what a trial has come to.
        go_on: Tries the candidate that has waited, under the entry's lock.
    """

    def __init__(self, catalogue: Catalogue, shelf: Shelf, book: TrialBook) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._book = book
        self._open: dict[str, TrialRow] = {}
        self._jobs: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self.decide: Decide | None = None
        self.go_on: GoOn | None = None

    def start(self) -> None:
        """Goes on with the trials on record, and with what waits; call it when the models serve."""
        self._open = {row.model: row for row in self._book.open_trials()}
        for entry in self._catalogue.entries.values():
            self.look(entry)
        self._catalogue.on_labels.append(self._hear)
        self._catalogue.on_forgotten.append(self._withdraw)
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stops answering; what has voted is on record."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def of(self, model: str) -> TrialRow | None:
        """The open trial of a model."""
        return self._open.get(model)

    def ending(
        self,
        entry: Entry,
        outcome: str,
        actor: str,
        reason: str,
        *,
        standing: Standing | None = None,
        refused: bool = False,
        numbers: Mapping[str, Any] = MappingProxyType({}),
    ) -> Turn:
        """A turn by which the trial of a model ends, if there is one, for whoever records it."""
        row = self._open.get(entry.row.name)
        if row is None:
            return Turn()
        return ending(
            row, outcome, actor, reason, standing=standing, refused=refused, numbers=numbers
        )

    async def take(self, entry: Entry, turn: Turn) -> None:
        """Records a turn that nothing else goes with; the caller holds the entry's lock."""
        await asyncio.wrap_future(self._book.write(turn.write))
        self.taken(entry, turn)

    def taken(self, entry: Entry, turn: Turn) -> None:
        """Does what a turn says that is on record; the caller holds the entry's lock."""
        c = self._catalogue
        if turn.ends is not None:
            c.metrics.trial_outcomes.labels(turn.ends.model, turn.ends.kind, turn.outcome).inc()
            self._leave(entry)
            c.announce(entry, pb.ModelEvent.KIND_SNAPSHOT)
        if turn.begun is not None:
            c.metrics.trials.labels(turn.begun.model, turn.begun.kind).inc()
            self._open[turn.begun.model] = turn.begun
            self.look(entry)

    def _leave(self, entry: Entry) -> None:
        """Forgets the trial of a model in memory: its canary stops with the next batch."""
        self._open.pop(entry.row.name, None)
        if entry.rival.canary is not None:
            self._catalogue.set_canary(entry, None)
        entry.rival = Rival()
        self._catalogue.pool.drop_unused()

    def _hear(
        self,
        entry: Entry,
        items: Sequence[NewFeedback],
        acks: Sequence[Ack | FeedbackError],
    ) -> None:
        """Takes note of labels that are on record and not learned yet."""
        row = self._open.get(entry.row.name)
        if row is None or self._jobs.qsize() >= _MOST_BEHIND:
            return
        serving = self._catalogue.serving(row.model)
        audits = audits_among(items, acks, row, serving)
        if audits:
            self._jobs.put_nowait(partial(self._vote, entry, row, serving, audits))

    def look(self, entry: Entry) -> None:
        """Has the trial of a model looked at soon, or the candidate that waits for one."""
        self._jobs.put_nowait(partial(self._look, entry))

    def _withdraw(self, entry: Entry) -> None:
        """Stops the canary at a deletion until it is known that it had not learned what is gone."""
        if entry.rival.canary is not None:
            self._catalogue.set_canary(entry, None)
        self.look(entry)

    async def votes(self, row: TrialRow) -> list[Vote]:
        """The votes that count now."""
        return (await asyncio.to_thread(self._counted, row))[0]

    async def rival(self, entry: Entry, row: TrialRow) -> Stored:
        """What is compared with what serves; read when it is needed first.

        Raises:
            NotReady: It cannot be read; if it is damaged the trial ends soon.
        """
        found = entry.rival.stored
        if found is None:
            try:
                found = await self._shelf.read(self._shelf.find(row.model, row.version))
            except NotReady as error:
                if error.reason == "VERSION_DAMAGED":
                    self.look(entry)
                raise
            if self._open.get(row.model) is row:
                entry.rival.stored = found
        return found

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await job()
            except (ServingError, HeadError, StoreError, OSError) as error:
                log.warning("a trial could not go on", why=str(error))

    async def _look(self, entry: Entry) -> None:
        """Ends a trial that has become void, prepares one that goes on, or begins the next."""
        async with entry.lock:
            if self._catalogue.entries.get(entry.row.name) is not entry:
                return
            row = self._open.get(entry.row.name)
            version = self._shelf.find(row.model, row.version) if row else None
            turn = (
                void(self._catalogue, self._shelf, entry, row, version) if row and version else None
            )
            if turn is not None:
                await self.take(entry, turn)
            if row is None or version is None or turn is not None:
                if self.go_on is not None:
                    await self.go_on(entry)
                return
        await self._prepare(entry, row, version)

    async def _prepare(self, entry: Entry, row: TrialRow, version: VersionRow) -> None:
        """Reads the rival, and lets it answer as a canary if the policy says so."""
        rival = await self.rival(entry, row)
        if self._open.get(row.model) is not row:
            return
        share = self._catalogue.policies.of(row.model).canary_share
        if row.kind == "candidate" and share:
            generation = Generation.of(
                row.model, row.version, version.log_position, rival.label_set_version, rival.head,
                rival.loaded,
            )  # fmt: skip
            self._catalogue.set_canary(entry, Canary(generation, share))
        elif entry.rival.canary is not None:
            self._catalogue.set_canary(entry, None)
        await self._settle(entry, row)

    async def _vote(
        self, entry: Entry, row: TrialRow, serving: Generation, audits: list[Audit]
    ) -> None:
        if self._open.get(row.model) is not row:
            return
        rival = await self.rival(entry, row)
        voted = await asyncio.to_thread(self._book.votes, row.trial)
        votes = await cast(self._catalogue, row, serving, rival, audits, voted)
        if votes:
            await asyncio.wrap_future(self._book.add_votes(row.trial, votes))
            counting = sum(vote.counts for vote in votes)
            self._catalogue.metrics.trial_votes.labels(row.model).inc(counting)
            await self._settle(entry, row)

    async def _settle(self, entry: Entry, row: TrialRow) -> None:
        """Counts, shows where the trial stands, and has it decided."""
        standing = await self.standing(row)
        if self._open.get(row.model) is not row:
            return
        self._show(entry, row, standing)
        if standing.outcome != "open" and self.decide is not None:
            await self.decide(entry, row, standing)

    async def standing(self, row: TrialRow) -> Standing:
        """Where a trial stands by the votes that count now."""
        votes, over_cap = await asyncio.to_thread(self._counted, row)
        if row.kind == "watch":
            standing = watch_standing(votes, row.e_needed)
        else:
            standing = candidate_standing(row.anchor, votes, self.demands(row))
        return replace(standing, over_cap=over_cap)

    def demands(self, row: TrialRow) -> Demands:
        """What is demanded of a candidate on trial: by the present policy, but for the evidence.

        How much of that it needs was settled when it came.
        """
        return replace(demands_of(self._catalogue.policies.of(row.model), 1), e_better=row.e_needed)

    def _counted(self, row: TrialRow) -> tuple[list[Vote], int]:
        """The votes that count now, and how many do not for the cap on one submitter's."""
        votes = self._book.votes(row.trial)
        positions = [vote.position for vote in votes]
        labels = self._catalogue.log.counting_audits(row.model, positions)
        valid = [vote for vote in votes if vote.position in labels]
        counted = [
            Vote(labels[vote.position], vote.serving_right, vote.rival_right)
            for vote in valid
            if vote.counts
        ]
        return counted, len(valid) - len(counted)

    def _show(self, entry: Entry, row: TrialRow, standing: Standing) -> None:
        stage = "watch" if row.kind == "watch" else "canary" if entry.rival.canary else "shadow"
        entry.rival.trial = pb.Trial(
            version=row.version,
            stage=stage,
            wins=standing.audits.wins,
            losses=standing.audits.losses,
            total=standing.audits.total,
            over_cap=standing.over_cap,
            e_better=standing.e_better,
            e_needed=standing.e_needed,
        )
        for side, value in (("better", standing.e_better), ("worse", standing.e_worse)):
            self._catalogue.metrics.trial_e_value.labels(row.model, side).set(value)
        self._catalogue.announce(entry, pb.ModelEvent.KIND_SNAPSHOT)
