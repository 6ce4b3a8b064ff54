"""RPCs of `honed.v1.Models`: what serves, what could, who decided, and control over it."""

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic

from honed_proto.v1 import models_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest
from honed_server.edge.rpc import Call
from honed_server.feedback.forgetting import Forgetting
from honed_server.feedback.retention import wholly
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.models.creation import Creation, NewModel
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.registry import DecisionRow, VersionRow
from honed_server.models.uploads import Uploads
from honed_server.rounds.rounds import Rounds
from honed_server.trials.candidates import Candidates
from honed_server.trials.offers import Offers

_DECISIONS = 1000
_MAX_TRIALS = 1000
_MAX_SEED = 2**31 - 1


class ModelsService:
    """Answers the Models RPCs. Event loop only."""

    def __init__(
        self,
        catalogue: Catalogue,
        creation: Creation,
        uploads: Uploads,
        lifecycle: Lifecycle,
        forgetting: Forgetting,
        candidates: Candidates,
        offers: Offers,
        rounds: Rounds,
    ) -> None:
        self._catalogue = catalogue
        self._creation = creation
        self._uploads = uploads
        self._lifecycle = lifecycle
        self._forgetting = forgetting
        self._candidates = candidates
        self._offers = offers
        self._rounds = rounds

    async def create(self, request: pb.CreateModelRequest, call: Call) -> pb.Model:
        """Creates an empty model; see models.proto."""
        labels = tuple(dict.fromkeys(request.labels))
        new = NewModel(request.name, labels, closed=request.closed_labels)
        entry = await self._creation.create(new, request.encoder_digest, call.peer)
        return self._catalogue.describe(entry)

    async def import_model(
        self, parts: AsyncIterator[pb.ImportModelRequest], call: Call
    ) -> pb.Model:
        """Creates a model of the folder that the caller sends."""
        start = await self._uploads.start(parts)
        labels = tuple(dict.fromkeys(start.labels))
        if start.as_candidate:
            return await self._import_candidate(start, parts)
        new = NewModel(
            start.name, labels, closed=start.closed_labels, own_head=not start.without_head
        )
        await self._creation.check(new)
        async with self._uploads.receive(start.files, parts) as folder:
            entry = await self._creation.import_model(new, folder, call.peer)
        return self._catalogue.describe(entry)

    async def _import_candidate(
        self, start: pb.ImportModelStart, parts: AsyncIterator[pb.ImportModelRequest]
    ) -> pb.Model:
        entry = self._catalogue.entry(start.name, "start.name")
        if start.without_head or start.labels or start.closed_labels:
            raise InvalidRequest(
                "a candidate brings its own head; leave without_head, labels and closed_labels out",
                reason="UNEXPECTED_FIELD",
                field="start.as_candidate",
            )
        async with self._uploads.receive(start.files, parts) as folder:
            offer = await self._creation.candidate_of(start.name, folder)
            await self._offers.take(offer)
        return self._catalogue.describe(entry)

    async def start_round(self, request: pb.StartRoundRequest, call: Call) -> pb.Round:
        """Starts a fine-tuning round in the background."""
        row = await self._rounds.start(
            request.model,
            full=request.full,
            trials=validate.at_most(request.trials, "trials", _MAX_TRIALS),
            seed=validate.at_most(request.seed, "seed", _MAX_SEED),
            actor=_who(request.requested_by, call),
        )
        return self._rounds.describe(row)

    async def cancel_round(self, request: pb.CancelRoundRequest, call: Call) -> pb.Round:
        """Stops a round that has not ended."""
        who = _who(request.requested_by, call)
        return self._rounds.describe(await self._rounds.cancel(request.round_id, who))

    async def list_rounds(
        self, request: pb.ListRoundsRequest, _call: Call
    ) -> pb.ListRoundsResponse:
        """Lists rounds, newest first."""
        if request.model:
            self._catalogue.entry(request.model)
        rows = self._rounds.listed(request.model)
        return pb.ListRoundsResponse(rounds=[self._rounds.describe(row) for row in rows])

    async def get(self, request: pb.GetModelRequest, _call: Call) -> pb.Model:
        """Describes one model."""
        return self._catalogue.describe(self._catalogue.entry(request.name, "name"))

    async def list(self, _request: pb.ListModelsRequest, _call: Call) -> pb.ListModelsResponse:
        """Describes all models."""
        entries = sorted(self._catalogue.entries.items())
        return pb.ListModelsResponse(
            models=[self._catalogue.describe(entry) for _, entry in entries]
        )

    async def delete(self, request: pb.DeleteModelRequest, call: Call) -> pb.DeleteModelResponse:
        """Takes a model out of service and forgets its feedback."""
        entry = self._catalogue.entry(request.name, "name")
        forgotten = await wholly(self._delete(entry, _who(request.requested_by, call)))
        return pb.DeleteModelResponse(forgotten_feedback=forgotten)

    async def _delete(self, entry: Entry, who: str) -> int:
        event = self._catalogue.event(entry, pb.ModelEvent.KIND_DELETED)
        forgotten = await self._forgetting.forget_model(entry, who)
        self._catalogue.events.publish(event)
        await self._rounds.tidy()
        return forgotten

    async def list_versions(
        self, request: pb.ListVersionsRequest, _call: Call
    ) -> pb.ListVersionsResponse:
        """Lists versions and decisions."""
        self._catalogue.entry(request.model)
        registry = self._catalogue.registry
        versions = await asyncio.to_thread(registry.versions, request.model)
        decisions = await asyncio.to_thread(registry.decisions, request.model, _DECISIONS)
        return pb.ListVersionsResponse(
            versions=[_version(row) for row in versions],
            decisions=[_decision(row) for row in decisions],
        )

    async def promote(self, request: pb.PromoteRequest, call: Call) -> pb.Model:
        """Serves a version by hand."""
        who = _who(request.requested_by, call)
        deadline = monotonic() + call.patience_s()
        entry = await self._lifecycle.promote(request.model, request.version, who, deadline)
        return self._catalogue.describe(entry)

    async def rollback(self, request: pb.RollbackRequest, call: Call) -> pb.Model:
        """Serves an earlier version and pauses learning."""
        who = _who(request.requested_by, call)
        entry = await wholly(self._lifecycle.rollback(request.model, request.version, who))
        return self._catalogue.describe(entry)

    async def pause(self, request: pb.PauseAdaptationRequest, call: Call) -> pb.Model:
        """Stops learning."""
        who = _who(request.requested_by, call)
        return self._catalogue.describe(await wholly(self._lifecycle.pause(request.model, who)))

    async def resume(self, request: pb.ResumeAdaptationRequest, call: Call) -> pb.Model:
        """Learns again."""
        resumed = self._lifecycle.resume(
            request.model,
            exclude_suspected=request.exclude_suspected,
            exclude_submitter=validate.identifier(request.exclude_submitter, "exclude_submitter"),
            actor=_who(request.requested_by, call),
        )
        entry = await wholly(resumed)
        return self._catalogue.describe(entry)

    async def set_policy(self, request: pb.SetPolicyRequest, call: Call) -> pb.Model:
        """Replaces the policy of a model."""
        entry = self._catalogue.entry(request.model)
        who = _who(request.requested_by, call)
        policy = self._catalogue.policies.asked_for(request.policy)
        await wholly(self._candidates.set_policy(entry, policy, who))
        return self._catalogue.describe(entry)

    def watch(self, request: pb.WatchRequest, _call: Call) -> AsyncIterator[pb.ModelEvent]:
        """Streams the present state and what follows."""
        entries = list(self._catalogue.entries.values())
        if request.model:
            entries = [self._catalogue.entry(request.model)]
        snapshot = [self._catalogue.event(entry, pb.ModelEvent.KIND_SNAPSHOT) for entry in entries]
        return self._catalogue.events.watch(request.model, snapshot)


def _who(requested_by: str, call: Call) -> str:
    return validate.identifier(requested_by, "requested_by") or call.peer


def _version(row: VersionRow) -> pb.Version:
    version = pb.Version(
        version=row.version,
        state=f"VERSION_STATE_{row.state.name}",
        parent=row.parent,
        encoder_digest=row.encoder_digest,
        log_position=row.log_position,
        num_labels=row.num_labels,
        source=row.source,
        manifest_sha256=row.manifest_sha256,
        tainted_position=row.tainted_position,
    )
    version.create_time.FromNanoseconds(int(row.created * 1e9))
    return version


def _decision(row: DecisionRow) -> pb.Decision:
    decision = pb.Decision(
        decision_id=row.decision_id,
        kind=row.kind,
        outcome=row.outcome,
        version=row.version,
        actor=row.actor,
        reason=row.reason,
        numbers_json=json.dumps(row.numbers, sort_keys=True),
    )
    decision.time.FromNanoseconds(int(row.time * 1e9))
    return decision
