"""RPCs of `honed.v1.Feedback`: validate labels, make them durable, wake learning, forget."""

import asyncio
from collections.abc import Sequence
from itertools import accumulate
from time import monotonic

from honed_adapt.feedback_values import (
    Ack,
    FeedbackError,
    KeyConflict,
    NewFeedback,
    Record,
    State,
    UnknownFeedback,
)
from honed_adapt.messages import Wake
from honed_proto.v1 import feedback_pb2 as pb
from honed_server import validate
from honed_server.catalogue import Catalogue, Entry
from honed_server.errors import Conflict, InvalidRequest, NotFound, ServingError
from honed_server.forgetting import Forgetting
from honed_server.labels import LabelReader, known_label
from honed_server.predictions import PredictionLog
from honed_server.rpc import Call

_PAGE = 100
_MAX_PAGE = 1000
# Texts of one page; a response of more than 17 MiB could not be sent.
_PAGE_BYTES = 8 * 1024 * 1024
# Part of the caller's remaining time kept to answer before its deadline passes.


class FeedbackService:
    """Answers the Feedback RPCs. Event loop only.

    Args:
        catalogue: The models.
        predictions: Where feedback by prediction id is looked up.
        forgetting: Carries out deletions.
    """

    def __init__(
        self, catalogue: Catalogue, predictions: PredictionLog, forgetting: Forgetting
    ) -> None:
        self._catalogue = catalogue
        self._labels = LabelReader(predictions)
        self._forgetting = forgetting

    async def submit(self, request: pb.SubmitRequest, call: Call) -> pb.SubmitResponse:
        """Records labels; see feedback.proto."""
        arrived = monotonic()
        validate.count(len(request.items), "items", validate.MAX_ITEMS)
        entry = self._catalogue.entry(request.model)
        checked = [
            await self._labels.read(entry.row, item, f"items[{i}]")
            for i, item in enumerate(request.items)
        ]
        good = [item for item in checked if isinstance(item, NewFeedback)]
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
        validate.count(len(request.feedback_ids), "feedback_ids", validate.MAX_ITEMS)
        who = validate.identifier(request.requested_by, "requested_by")
        entry = self._catalogue.entry(request.model)
        done = await self._forgetting.forget(entry, list(request.feedback_ids), who, call)
        response = pb.DeleteFeedbackResponse(
            position=done.position,
            served_version=done.version,
            served_revision=done.revision,
            tainted_versions=done.tainted,
        )
        for i, left in enumerate(done.tombstones):
            if isinstance(left, Record):
                response.results.add(tombstone=record_message(left))
            else:
                error = _feedback_error(left, f"feedback_ids[{i}]")
                response.results.add(error=error.to_status())
        return response

    async def import_anchor(
        self, request: pb.ImportAnchorRequest, _call: Call
    ) -> pb.ImportAnchorResponse:
        """Adds trusted labels; see feedback.proto."""
        validate.count(len(request.examples), "examples", validate.MAX_ANCHORS)
        catalogue, entry = self._catalogue, self._catalogue.entry(request.model)
        examples = [
            (
                validate.text(example.text, f"examples[{i}].text"),
                known_label(entry.row, example.label, f"examples[{i}].label"),
            )
            for i, example in enumerate(request.examples)
        ]
        async with entry.lock:
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


def record_message(record: Record) -> pb.FeedbackRecord:
    """A log record as callers see it."""
    message = pb.FeedbackRecord(
        feedback_id=record.feedback_id,
        position=record.position,
        idempotency_key=record.idempotency_key,
        prediction_id=record.prediction_id,
        text=record.text,
        label=record.label,
        kind=int(record.kind),  # type: ignore[arg-type]
        submitter=record.submitter,
        weight=record.weight,
        state=int(record.state),  # type: ignore[arg-type]
        predicted_label=record.predicted_label,
        predicted_version=record.predicted_version,
        predicted_revision=record.predicted_revision,
        retracts=record.retracts,
        deleted_position=record.deleted_position,
        deleted_by=record.deleted_by,
    )
    message.event_time.FromNanoseconds(int(record.event_time * 1e9))
    message.recorded_time.FromNanoseconds(int(record.recorded_time * 1e9))
    if record.deleted_time:
        message.deleted_time.FromNanoseconds(int(record.deleted_time * 1e9))
    return message
