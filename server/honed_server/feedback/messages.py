"""Entries and deletions of the feedback log as callers see them."""

from collections.abc import Sequence

from honed_adapt.feedback.values import DeletionRow, Record
from honed_proto.v1 import feedback_pb2 as pb
from honed_server.feedback.holding import Held


def deletion_message(row: DeletionRow, held: Sequence[Held], gone: bool) -> pb.DeletionRecord:
    """The record of a deletion.

    Args:
        row: The deletion.
        held: The versions that still hold what it erased.
        gone: Whether the model itself is deleted, so that none of its versions has to forget.
    """
    message = pb.DeletionRecord(
        position=row.position,
        requested_by=row.requested_by,
        submitter=row.submitter,
        feedback_ids=row.feedback_ids,
        served_revision=row.served_revision,
        difference=row.difference,
        complete=(gone or bool(row.served_revision)) and not held,
    )
    message.time.FromNanoseconds(int(row.time * 1e9))
    for one in held:
        tainted = message.tainted.add(
            model=one.version.model, version=one.version.version,
            in_encoder=one.in_encoder, active=one.active,
        )  # fmt: skip
        tainted.retire_time.FromNanoseconds(int(one.retire_time * 1e9))
    return message


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
        shares=[pb.LabelShare(label=label, share=share) for label, share in record.shares],
    )
    message.event_time.FromNanoseconds(int(record.event_time * 1e9))
    message.recorded_time.FromNanoseconds(int(record.recorded_time * 1e9))
    if record.deleted_time:
        message.deleted_time.FromNanoseconds(int(record.deleted_time * 1e9))
    return message
