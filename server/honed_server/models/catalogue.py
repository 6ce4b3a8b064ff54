"""The models of this server as the event loop sees them: what is on record, and what serves.

`Catalogue` holds the parts that every decision needs (registry, log, table, events) and publishes
what was decided. The decisions are in `revisions.py`, `lifecycle.py` and `forgetting.py`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from honed_adapt.feedback.log import Ack, FeedbackError, FeedbackLog, NewFeedback
from honed_adapt.head import Head
from honed_adapt.process import messages
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import NotReady, ServingError, UnknownModel
from honed_server.edge.metrics import Metrics
from honed_server.encoders.pool import EncoderPool
from honed_server.models.decisions import decision as decision
from honed_server.models.entry import Entry as Entry
from honed_server.models.events import Events
from honed_server.models.policies import Policies, policy_message
from honed_server.models.registry import Registry
from honed_server.serving.canary import Canary, with_canary
from honed_server.serving.generations import Generation, GenerationTable, LoadedEncoder

log = structlog.get_logger(__name__)


OnLabels = Callable[[Entry, Sequence[NewFeedback], Sequence[Ack | FeedbackError]], None]


@dataclass(slots=True)
class Catalogue:
    """All models, and the stores and tables that decisions write to."""

    home: Path
    registry: Registry
    log: FeedbackLog
    table: GenerationTable
    pool: EncoderPool
    events: Events
    metrics: Metrics
    policies: Policies
    guard_items: int = 2  # anchor answers that learning may cost
    integers: bool = True  # whether models may be answered in integers
    entries: dict[str, Entry] = field(default_factory=dict)
    unserved: dict[str, str] = field(default_factory=dict)  # models on record, and what is damaged
    adapt_state: str = "starting"
    tell_adapt: Callable[[messages.Message], object] = lambda _message: None
    on_labels: list[OnLabels] = field(default_factory=list)  # called with what was recorded
    on_policy: list[Callable[[Entry], None]] = field(default_factory=list)
    on_forgotten: list[Callable[[Entry], None]] = field(default_factory=list)
    on_set_aside: list[Callable[[Entry], None]] = field(default_factory=list)

    def entry(self, model: str, field: str = "model") -> Entry:
        """The entry of a model that serves; raises what `missing` says."""
        found = self.entries.get(model)
        if found is None:
            raise self.missing(model, field)
        return found

    def missing(self, model: str, field: str = "model") -> ServingError:
        """Why a model does not serve: it is damaged, or unknown (then with the nearest name)."""
        if (why := self.unserved.get(model)) is not None:
            return NotReady(f"model {model!r} cannot be served: {why}", reason="MODEL_DAMAGED")
        hint = validate.suggestion(model, list(self.entries)) or "; see Models.List"
        return UnknownModel(f"no model {validate.shown(model)}{hint}", field=field)

    @asynccontextmanager
    async def hold(self, entry: Entry) -> AsyncIterator[None]:
        """Holds a model's lock; raises UnknownModel if it was deleted while that was waited for."""
        async with entry.lock:
            if self.entries.get(name := entry.row.name) is not entry:
                raise UnknownModel(f"model {name!r} has just been deleted", field="model")
            yield

    def serving(self, model: str) -> Generation:
        """What serves for a model; raises what `missing` says if it has just been deleted."""
        generation = self.table.current.get(model)
        if generation is None:
            raise self.missing(model)
        return generation

    async def encoder(self, model: str, digest: str) -> LoadedEncoder:
        """An encoder in the precision that a model's answers are computed in.

        A damaged integer form is no reason not to serve: float32 does, until it is written anew.

        Raises:
            NotReady: It is not on disk, or damaged; the message names the file.
        """
        row = self.registry.model(model)
        if self.integers and row is not None and row.precision(digest) == "int8":
            try:
                return await self.pool.get(digest, "int8")
            except NotReady as error:
                log.warning("served in float32", model=model, why=str(error))
        return await self.pool.get(digest)

    def _judged_at(self, entry: Entry, loaded: LoadedEncoder) -> int:
        """Labels in effect when integers were tried last, 0 if they shall be tried again."""
        tried = entry.row.evidence(loaded.encoder.digest)
        lost = tried is not None and tried.holds and loaded.encoder.precision == "fp32"
        return 0 if tried is None or lost else tried.labels

    def publish(
        self,
        entry: Entry,
        version: int,
        revision: int,
        label_set_version: int,
        head: Head,
        *,
        kind: pb.ModelEvent.Kind,
        loaded: LoadedEncoder | None = None,
    ) -> None:
        """Swaps: assigns the table that holds the new generation, then tells who watches."""
        name = entry.row.name
        loaded = loaded or self.serving(name).loaded
        generation = Generation.of(name, version, revision, label_set_version, head, loaded)
        self.table.put(with_canary(generation, entry.rival.canary))
        self.metrics.version.labels(name).set(version)
        self.metrics.revision.labels(name).set(revision)
        self.metrics.learned_weight.labels(name).set(entry.learned_weight)
        self._observe_served(entry, revision)
        self.announce(entry, kind)

    def set_canary(self, entry: Entry, canary: Canary | None) -> None:
        """Lets a candidate answer for some of the texts, or for none any more."""
        entry.rival.canary = canary
        if (serving := self.table.current.get(entry.row.name)) is not None:
            self.table.put(with_canary(serving, canary))

    def announce(self, entry: Entry, kind: pb.ModelEvent.Kind) -> None:
        """Tells watchers and waiters that something happened to the model."""
        self.events.publish(self.event(entry, kind))

    def event(self, entry: Entry, kind: pb.ModelEvent.Kind) -> pb.ModelEvent:
        """The event `kind` with the model as it is now."""
        event = pb.ModelEvent(kind=kind, model=self.describe(entry))
        event.time.GetCurrentTime()
        return event

    def describe(self, entry: Entry) -> pb.Model:
        """The model as callers see it."""
        row, generation = entry.row, self.serving(entry.row.name)
        model = pb.Model(
            name=row.name,
            version=generation.version,
            revision=generation.revision,
            label_set_version=generation.label_set_version,
            labels=generation.head.labels,
            encoder_digest=generation.loaded.encoder.digest,
            hidden_size=generation.loaded.encoder.hidden,
            temperature=generation.head.temperature,
            closed_labels=row.closed_labels,
            adaptation_paused=row.paused,
            suspect_from=row.suspect_from,
            suspect_to=row.suspect_to,
            log_position=entry.log_position,
            anchor_examples=entry.anchor_total,
            adapt_state=self.adapt_state,
            max_tokens=generation.loaded.tokenizer.max_tokens,
            own_head_version=row.own_head_version,
            learned_weight=entry.learned_weight,
            learned_evidence=entry.learned_evidence,
            precision=generation.loaded.encoder.precision,
            learning=entry.watch.add_audits(entry.learning),
            drift=entry.watch.describe(),
            policy=policy_message(self.policies.of(row.name)),
            trial=entry.rival.trial,
            settled=entry.settled,
        )
        model.create_time.FromNanoseconds(int(row.created * 1e9))
        return model

    def models_message(self) -> messages.Models:
        """What the adapt process must know now."""
        states = []
        for entry in self.entries.values():
            generation, policy = self.serving(entry.row.name), self.policies.of(entry.row.name)
            states.append(
                messages.ModelState(
                    name=entry.row.name,
                    encoder_digest=generation.loaded.encoder.digest,
                    epoch=entry.epoch,
                    revision=generation.revision,
                    row_limit=entry.row.pin_revision if entry.row.paused else None,
                    pinned_at=entry.row.pinned_at,
                    anchor_set=entry.anchor_set,
                    anchor_reference=entry.anchor_reference,
                    own_head_version=entry.own_head_behind(generation.loaded.encoder.digest),
                    judged_at=self._judged_at(entry, generation.loaded),
                    distrusted=tuple(sorted(entry.distrusted)),
                    recipe=entry.recipe,
                    false_alarms=policy.out_of_scope_false_alarms,
                    coverage=policy.coverage,
                    next_encoder="" if entry.row.paused or not entry.ahead else entry.ahead.wanted,
                )
            )
        return messages.Models(tuple(states))

    def has_forgotten(self, entry: Entry, position: int) -> bool:
        """Whether what serves lacks all that was deleted up to a log position."""
        return max(self.serving(entry.row.name).revision, entry.row.pinned_at) >= position

    def renew(self, entry: Entry) -> None:
        """Voids the offers under way and tells the adapt process where the model stands now."""
        entry.epoch += 1
        entry.considered = 0
        self.tell_adapt(self.models_message())

    def _observe_served(self, entry: Entry, revision: int) -> None:
        now = monotonic()
        while entry.acknowledged and entry.acknowledged[0][0] <= revision:
            _, since = entry.acknowledged.popleft()
            self.metrics.label_to_served_seconds.observe([now - since])
