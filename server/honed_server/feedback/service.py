"""RPCs of `honed.v1.Feedback`: validate labels, make them durable, wake learning, forget."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import inf
from time import monotonic

from honed_adapt.feedback.values import (
    Ack,
    FeedbackError,
    KeyConflict,
    NewFeedback,
    Record,
    Selector,
    State,
    UnknownFeedback,
)
from honed_adapt.process.messages import Wake
from honed_proto.v1 import feedback_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import Conflict, InvalidRequest, NotFound, ServingError
from honed_server.edge.rpc import Call
from honed_server.feedback.forgetting import Forgetting
from honed_server.feedback.label_names import known_label
from honed_server.feedback.labels import LabelReader
from honed_server.feedback.messages import deletion_message, record_message
from honed_server.feedback.retention import Rates
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.serving.predictions import PredictionLog

_PAGE = 100
_MAX_PAGE = 1000
# Texts of one page; a response of more than 17 MiB could not be sent.
_PAGE_BYTES = 8 * 1024 * 1024


class FeedbackService:
    """Answers the Feedback RPCs. Event loop only.

    Args:
        catalogue: The models.
        predictions: Where feedback by prediction id is looked up.
        forgetting: Carries out deletions.
        rates: How many labels each submitter may send.
        redacted: Takes out of a text what shall not be stored.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        predictions: PredictionLog,
        forgetting: Forgetting,
        rates: Rates,
        redacted: Callable[[str], str],
    ) -> None:
        self._catalogue = catalogue
        self._labels = LabelReader(predictions, redacted)
        self._forgetting = forgetting
        self._rates = rates
        self._redacted = redacted

    async def submit(self, request: pb.SubmitRequest, call: Call) -> pb.SubmitResponse:
        """Records labels; see feedback.proto."""
        arrived = monotonic()
        validate.count(len(request.items), "items", validate.MAX_ITEMS)
        entry = self._catalogue.entry(request.model)
        self._rates.take(Counter(item.submitter for item in request.items))
        checked = [
            await self._labels.read(entry.row, item, f"items[{i}]")
            for i, item in enumerate(request.items)
        ]
        good = [item for item in checked if isinstance(item, NewFeedback)]
        if self._catalogue.entries.get(request.model) is not entry:
            raise self._catalogue.missing(request.model)  # what is written now nobody would erase
        acks = await asyncio.wrap_future(self._catalogue.log.submit(good)) if good else []
        recorded = iter(acks)
        results = [next(recorded) if isinstance(c, NewFeedback) else c for c in checked]
        self._catalogue.metrics.label_ack_seconds.observe([monotonic() - arrived])
        self._note_recorded(entry, good, acks)
        newest = max((ack.position for ack in acks if isinstance(ack, Ack)), default=0)
        served = False
        if request.wait_until_served and newest:
            served = await self._wait_served(entry, newest, call)
            await self._recall_quarantine(entry, acks)
        return pb.SubmitResponse(
            results=[
                self._result(entry, result, f"items[{i}]", request, served)
                for i, result in enumerate(results)
            ]
        )

    async def list(self, request: pb.ListFeedbackRequest, _call: Call) -> pb.ListFeedbackResponse:
        """Lists a page of the log; see feedback.proto."""
        self._catalogue.entry(request.model)
        if request.page_size > _MAX_PAGE:
            raise InvalidRequest(
                f"page_size is {request.page_size}; ask for at most {_MAX_PAGE}",
                reason="BAD_PAGE_SIZE",
                field="page_size",
            )
        limit = request.page_size or _PAGE
        after = _page_position(request.page_token)
        records = await asyncio.to_thread(
            self._catalogue.log.list,
            request.model,
            after,
            limit + 1,
            request.label,
            request.submitter,
        )
        page = _page(records[:limit])
        more = len(records) > len(page)
        return pb.ListFeedbackResponse(
            records=[record_message(record) for record in page],
            next_page_token=str(page[-1].position) if more else "",
        )

    async def delete(
        self, request: pb.DeleteFeedbackRequest, call: Call
    ) -> pb.DeleteFeedbackResponse:
        """Forgets feedback exactly; see feedback.proto."""
        selector = _selector(request)
        who = validate.identifier(request.requested_by, "requested_by")
        entry = self._catalogue.entry(request.model)
        done = await self._forgetting.forget(entry, selector, who, call)
        response = pb.DeleteFeedbackResponse(
            position=done.position,
            served_version=done.version,
            served_revision=done.revision,
            tainted_versions=done.tainted,
            deleted=done.entries,
        )
        for i, left in enumerate(done.tombstones):
            if isinstance(left, Record):
                response.results.add(tombstone=record_message(left))
            else:
                error = _feedback_error(left, f"feedback_ids[{i}]")
                response.results.add(error=error.to_status())
        if done.newest:
            (record, *_) = await self._deletions(request.model, after=done.newest - 1)
            response.record.CopyFrom(record)
        return response

    async def list_deletions(
        self, request: pb.ListDeletionsRequest, _call: Call
    ) -> pb.ListDeletionsResponse:
        """Lists what was deleted and where it still is; see feedback.proto."""
        return pb.ListDeletionsResponse(deletions=await self._deletions(request.model))

    async def _deletions(self, model: str, after: int = 0) -> Sequence[pb.DeletionRecord]:
        row = self._catalogue.registry.model(model)
        gone = row is not None and row.deleted  # what it had taught others must be seen still
        if not gone:
            self._catalogue.entry(model)
        records = await asyncio.to_thread(self._forgetting.records, model, after)
        return [deletion_message(row, held, gone) for row, held in records]

    async def import_anchor(
        self, request: pb.ImportAnchorRequest, _call: Call
    ) -> pb.ImportAnchorResponse:
        """Adds trusted labels; see feedback.proto."""
        validate.count(len(request.examples), "examples", validate.MAX_ANCHORS)
        catalogue, entry = self._catalogue, self._catalogue.entry(request.model)
        examples = [
            (
                self._redacted(validate.text(example.text, f"examples[{i}].text")),
                known_label(entry.row, example.label, f"examples[{i}].label"),
            )
            for i, example in enumerate(request.examples)
        ]
        async with catalogue.hold(entry):
            done = await asyncio.wrap_future(
                catalogue.log.import_anchor(request.model, examples, request.replace)
            )
            entry.anchor_set, entry.anchor_total = done.set_number, done.total
            entry.anchor_reference = None
            entry.anchor_vectors.clear()
        catalogue.tell_adapt(catalogue.models_message())
        known = set(catalogue.serving(request.model).head.labels)
        return pb.ImportAnchorResponse(
            imported=done.imported,
            total=done.total,
            unknown_labels=sorted({label for _, label in examples} - known),
        )

    def _note_recorded(
        self, entry: Entry, items: Sequence[NewFeedback], acks: Sequence[Ack | FeedbackError]
    ) -> None:
        now = monotonic()
        for item, ack in zip(items, acks, strict=True):
            if isinstance(ack, Ack) and not ack.already_recorded:
                entry.log_position = max(entry.log_position, ack.position)
                entry.acknowledged.append((ack.position, now))
                self._catalogue.metrics.feedback.labels(entry.row.name, item.kind.name).inc()
        self._catalogue.tell_adapt(Wake(entry.log_position))
        for hear in self._catalogue.on_labels:
            hear(entry, items, acks)

    async def _wait_served(self, entry: Entry, position: int, call: Call) -> bool:
        name, table = entry.row.name, self._catalogue.table
        if entry.row.paused:
            return False

        def satisfied() -> bool:
            serving = table.current.get(name)
            return serving is None or serving.revision >= position or entry.row.paused

        await self._catalogue.events.until(name, satisfied, call.patience_s())
        serving = table.current.get(name)
        return serving is not None and serving.revision >= position

    async def _recall_quarantine(self, entry: Entry, acks: Sequence[Ack | FeedbackError]) -> None:
        """What was refused before the server started is known to the log only."""
        old = [ack.feedback_id for ack in acks if isinstance(ack, Ack) and ack.already_recorded]
        if old:
            records = await asyncio.to_thread(self._catalogue.log.find, entry.row.name, old)
            refused = (r.position for r in records if r.state is State.QUARANTINED)
            entry.quarantined.update(refused)

    def _result(
        self,
        entry: Entry,
        result: Ack | FeedbackError | ServingError,
        at: str,
        request: pb.SubmitRequest,
        served: bool,
    ) -> pb.SubmitResult:
        if isinstance(result, ServingError):
            return pb.SubmitResult(error=result.to_status())
        if isinstance(result, FeedbackError):
            field = "idempotency_key" if isinstance(result, KeyConflict) else "retracts"
            return pb.SubmitResult(error=_feedback_error(result, f"{at}.{field}").to_status())
        ack = pb.FeedbackAck(
            feedback_id=result.feedback_id,
            position=result.position,
            already_recorded=result.already_recorded,
        )
        serving = self._catalogue.table.current.get(entry.row.name)
        if request.wait_until_served and serving is not None:
            ack.served = served
            ack.served_version = serving.version
            ack.served_revision = serving.revision
            ack.quarantined = result.position in entry.quarantined
        return pb.SubmitResult(ack=ack)


def _selector(request: pb.DeleteFeedbackRequest) -> Selector:
    """What a request names; raises InvalidRequest if that is nothing, or two things at once."""
    by_time = [name for name in ("recorded_from", "recorded_until") if request.HasField(name)]
    if not request.submitter and not by_time:
        validate.count(len(request.feedback_ids), "feedback_ids", validate.MAX_ITEMS)
        return Selector(list(request.feedback_ids))
    if request.feedback_ids:
        raise InvalidRequest(
            "name feedback_ids, or a submitter and a time, not both",
            reason="AMBIGUOUS_SELECTION",
            field="feedback_ids",
        )
    limits = {name: validate.time(getattr(request, name), name) for name in by_time}
    selector = Selector(
        submitter=validate.identifier(request.submitter, "submitter"),
        recorded_from=limits.get("recorded_from", 0.0),
        recorded_until=limits.get("recorded_until", inf),
    )
    if selector.recorded_from >= selector.recorded_until:
        raise InvalidRequest(
            "recorded_until must be later than recorded_from",
            reason="EMPTY_RANGE",
            field="recorded_until",
        )
    return selector


def _feedback_error(error: FeedbackError, field: str) -> ServingError:
    if isinstance(error, KeyConflict):
        return Conflict(f"{error}; choose another key", reason=error.reason, field=field)
    assert isinstance(error, UnknownFeedback), "the log knows no other errors for one item"
    return NotFound(f"{error}; see Feedback.List", reason="UNKNOWN_FEEDBACK", field=field)


def _page(records: Sequence[Record]) -> list[Record]:
    """The records that one response can carry, at least one if there is any."""
    sizes = accumulate(len(record.text.encode()) for record in records)
    return [
        r
        for i, (r, size) in enumerate(zip(records, sizes, strict=True))
        if i == 0 or size <= _PAGE_BYTES
    ]


def _page_position(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidRequest(
            "page_token is not one that List returned; start without it",
            reason="BAD_PAGE_TOKEN",
            field="page_token",
        )
    return int(token or 0)
