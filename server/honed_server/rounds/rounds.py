"""Fine-tuning rounds: asked for, queued, handed to a trainer, told of, ended. The server decides.

A trainer process works (`trainer_main.py`); what it offers passes the gate like any candidate. One
round trains at a time. Its record survives the server: a round that was under way goes on at the
next start, where its last checkpoint was.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from honed_adapt.encoders.lineage import seen_by
from honed_adapt.gate.policy import Policy
from honed_adapt.process import messages
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotFound, NotReady
from honed_server.feedback.holding import knows_deleted
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.rounds.checks import Facts, check
from honed_server.rounds.course import Course
from honed_server.rounds.files import remove_encoders, remove_work
from honed_server.rounds.groups import encoder_of, group_of
from honed_server.rounds.messages import round_message, round_model
from honed_server.rounds.rows import RoundRow, RoundState, RoundStore
from honed_server.trials.offers import Offers

_ATTEMPTS = 4  # trainers that may end too early without getting further
_LISTED = 100
ASKED_AT = "asked_at"
"""In a round's metrics: the log position of each model when it was asked for."""

_PHASES = {"training": RoundState.TRAINING, "checking": RoundState.CHECKING}


class Rounds:
    """The rounds of one server. Event loop only.

    Args:
        catalogue: The models.
        policy: The policy of a model.
        max_encoders: Most encoders that may serve at a time, counting those that rounds may add.
        learns: Whether there is an adapt process at all.
        default_encoder: Digest of the encoder of models that name none: it stays.

    Attributes:
        on_ended: Told of each round that has ended.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        policy: Callable[[str], Policy],
        *,
        max_encoders: int,
        learns: bool,
        default_encoder: str,
    ) -> None:
        self._catalogue = catalogue
        self._policy = policy
        self._max_encoders = max_encoders
        self._learns = learns
        self._default_encoder = default_encoder
        self.on_ended: Callable[[RoundRow], None] = lambda _row: None
        self._store = RoundStore(catalogue.registry.database)
        self._rows = {row.round_id: row for row in self._store.all()}
        self._courses = {row.round_id: Course() for row in self._rows.values() if row.active}

    @property
    def trainer_pid(self) -> int | None:
        """Process id of the trainer at work, if there is one."""
        return next((course.pid for course in self._courses.values() if course.pid), None)

    async def start(
        self,
        model: str,
        *,
        full: bool = False,
        trials: int = 0,
        seed: int = 0,
        trigger: str = "request",
        actor: str,
    ) -> RoundRow:
        """Queues a round for a model and those trained together with it.

        Raises:
            UnknownModel: No such model.
            NotReady: Something is missing; says what to do.
        """
        entry = self._catalogue.entry(model)
        self._check(entry, trials)
        group = group_of(self._catalogue, self._policy, entry)
        row = RoundRow(
            uuid.uuid4().hex,
            tuple(one.row.name for one in group),
            RoundState.QUEUED,
            "full" if full else "adapter",
            trigger,
            time.time(),
            seed or secrets.randbelow(2**31 - 1) + 1,
            trials,
            encoder_of(self._catalogue, entry),
            metrics={ASKED_AT: {one.row.name: one.log_position for one in group}},
        )
        self._courses[row.round_id] = Course()
        await self._put(row, "queued", actor, f"a round was started ({trigger})")
        self._tell()
        return row

    async def cancel(self, round_id: str, actor: str) -> RoundRow:
        """Stops a round; raises NotFound, or NotReady if it has ended.

        The gate refuses a candidate that it is judging; the round ends once that is on record.
        """
        course = self._courses.get(round_id, Course())
        course.cancelled = True
        async with course.offering:
            row = self._row(round_id)
            if not row.active:
                raise NotReady(
                    f"round {round_id} is {row.state.name.lower()} already", reason="ROUND_ENDED"
                )
            ended = replace(row, state=RoundState.CANCELLED, ended=time.time(), reason="on request")
            await self._end(ended, "cancelled", actor)
        return ended

    def listed(self, model: str) -> list[RoundRow]:
        """Rounds of a model, or of all, newest first."""
        rows = [row for row in self._rows.values() if not model or model in row.models]
        return rows[::-1][:_LISTED]

    def describe(self, row: RoundRow) -> pb.Round:
        """A round as callers see it."""
        course = self._courses.get(row.round_id)
        return round_message(row, None if course is None else course.progress)

    def order(self) -> messages.Train:
        """What the adapt process shall have trained now."""
        row = next(iter(self.active()), None)
        if row is None:
            return messages.Train()
        c = self._catalogue
        models = [
            round_model(entry.row, c.serving(name).version, self._policy(name))
            for name in row.models
            if (entry := c.entries.get(name)) is not None
        ]
        return messages.Train(
            row.round_id, self._courses[row.round_id].attempt, row.kind, row.seed, row.trials,
            row.base_encoder, tuple(models),
        )  # fmt: skip

    def under_way(self, model: str) -> str | None:
        """The round that is under way for a model."""
        return next((row.round_id for row in self.active() if model in row.models), None)

    async def offered(self, offer: messages.Candidate, offers: Offers) -> messages.Verdict:
        """Has a candidate judged, and notes the version that it became.

        One that was learned from what has been deleted since is "stale": the round starts over.
        """
        if not offer.round_id:
            return await offers.take(offer)
        course = self._courses.get(offer.round_id, Course())
        async with course.offering:
            return await self._offered(offer, offers, course)

    async def _offered(
        self, offer: messages.Candidate, offers: Offers, course: Course
    ) -> messages.Verdict:
        row, entry = self._rows.get(offer.round_id), self._catalogue.entries.get(offer.model)
        if row is None or not row.active:
            return messages.Verdict(offer.model, 0, "stale", "the round has ended")
        if entry is not None and entry.deletion_position > offer.log_position:
            return messages.Verdict(offer.model, 0, "stale", "feedback was deleted meanwhile")
        if await asyncio.to_thread(self._knows_deleted, offer.encoder_digest):
            reason = "feedback that its encoder was trained on was deleted meanwhile"
            return messages.Verdict(offer.model, 0, "stale", reason)
        number = row.versions.get(offer.model, 0)
        if number and row.encoder_digest == offer.encoder_digest:  # by a trainer that was killed
            return messages.Verdict(offer.model, number, "candidate", "it was offered before")
        verdict = await offers.take(offer, lambda: not course.cancelled)
        if verdict.outcome == "stale":
            return verdict
        row = self._rows[offer.round_id]
        versions = {**row.versions, offer.model: verdict.number}
        await self._put(replace(row, versions=versions, encoder_digest=offer.encoder_digest))
        return verdict

    async def hear_progress(self, progress: messages.RoundProgress, pid: int) -> None:
        """A trainer says where it stands."""
        row, course = self._rows.get(progress.round_id), self._courses.get(progress.round_id)
        if row is None or course is None:
            return
        before = course.progress
        if before is None or progress.step > before.step or progress.phase != before.phase:
            course.stuck = 0
        course.progress, course.pid = progress, pid
        share = progress.step / progress.steps if progress.steps else 0.0
        self._catalogue.metrics.round_progress.set(share)
        state = _PHASES.get(progress.phase, row.state)
        await self._put(replace(row, state=state))

    async def hear_ended(self, ended: messages.RoundEnded) -> None:
        """A trainer says that it is through."""
        row = self._rows.get(ended.round_id)
        if row is None or not row.active:
            return
        state = RoundState.DONE if ended.outcome == "done" else RoundState.FAILED
        row = replace(
            row, state=state, ended=time.time(), reason=ended.reason,
            metrics={**row.metrics, **ended.metrics},
            encoder_digest=ended.encoder_digest or row.encoder_digest,
        )  # fmt: skip
        await self._end(row, ended.outcome, "trainer")

    async def trainer_left(self, pid: int) -> None:
        """A trainer's connection has ended: if its round has not, another one goes on with it."""
        for round_id, course in list(self._courses.items()):
            if course.pid != pid:
                continue
            course.pid, course.attempt, course.stuck = 0, course.attempt + 1, course.stuck + 1
            if course.stuck < _ATTEMPTS:
                self._tell()
                continue
            reason = f"{_ATTEMPTS} trainers ended without getting further; see the server's log"
            await self.hear_ended(messages.RoundEnded(round_id, "failed", reason))

    def active(self) -> list[RoundRow]:
        """The rounds that have not ended, oldest first."""
        return [row for row in self._rows.values() if row.active]

    async def tidy(self) -> None:
        """Removes encoders that no version needs any more, and no round."""
        c = self._catalogue
        kept = {g.loaded.encoder.digest for g in c.table.current.values()}
        kept |= {self._default_encoder, *(row.base_encoder for row in self.active())}
        at_work = [row.round_id for row in self.active()]
        await asyncio.to_thread(remove_encoders, c.home, c.registry, kept, at_work)

    def _check(self, entry: Entry, trials: int) -> None:
        table = self._catalogue.table.current
        facts = Facts(
            learns=self._learns,
            paused=entry.row.paused,
            labels=self._catalogue.serving(entry.row.name).head.num_labels,
            under_way=self.under_way(entry.row.name),
            rounds=len(self.active()),
            encoders=len({g.loaded.encoder.digest for g in table.values()}),
            max_encoders=self._max_encoders,
        )
        check(entry.row.name, facts, trials=trials)

    def _knows_deleted(self, digest: str) -> bool:
        return knows_deleted(self._catalogue.log, seen_by(self._catalogue.home, digest))

    def _row(self, round_id: str) -> RoundRow:
        row = self._rows.get(round_id)
        if row is None:
            raise NotFound(
                f"there is no round {round_id!r}; see Models.ListRounds",
                reason="UNKNOWN_ROUND",
                field="round_id",
            )
        return row

    async def _end(self, row: RoundRow, outcome: str, actor: str) -> None:
        self._courses.pop(row.round_id, None)
        await self._put(row, outcome, actor, row.reason)
        self._tell()
        self.on_ended(row)
        self._catalogue.metrics.rounds.labels(outcome).inc()
        await asyncio.to_thread(remove_work, self._catalogue.home, row.round_id)
        await self.tidy()

    async def _put(self, row: RoundRow, outcome: str = "", actor: str = "", why: str = "") -> None:
        """Makes a round what it is now; an outcome is a decision on record for each model."""
        changed = self._rows.get(row.round_id) != row
        self._rows[row.round_id] = row
        numbers = {"round_id": row.round_id, "kind": row.kind, **dict(row.metrics)}
        records = [
            decision(
                name, "round", outcome, actor=actor, reason=why,
                version=row.versions.get(name, 0), numbers=numbers,
            )
            for name in row.models
            if outcome
        ]  # fmt: skip
        if changed:
            await asyncio.wrap_future(self._store.put(row, *records))
        for name in row.models:
            if (entry := self._catalogue.entries.get(name)) is not None:
                self._catalogue.announce(entry, pb.ModelEvent.KIND_ROUND)

    def _tell(self) -> None:
        self._catalogue.tell_adapt(self.order())
