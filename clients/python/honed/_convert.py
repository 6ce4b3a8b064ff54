"""`honed.v1` messages <-> the values of `types.py`."""

import struct
from collections.abc import MutableSequence
from dataclasses import fields
from datetime import UTC
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from honed._status import error_from_status
from honed.errors import HonedError
from honed.types import (
    Deletion,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Model,
    ModelEvent,
    Prediction,
    Score,
)
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

Value = TypeVar("Value")


def value_from(message: Message, kind: type[Value]) -> Value:
    """Builds a flat value from the message fields of the same names.

    Timestamps become aware datetimes (None if unset), repeated fields tuples, and enumerations
    lower-case words.
    """
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # only dataclasses
    return kind(**{name: _plain(message, name) for name in names})


def value_or_raise(result: Value | HonedError) -> Value:
    """Raises the outcome of a single item if it is an error."""
    if isinstance(result, HonedError):
        raise result
    return result


def _plain(message: Message, name: str) -> Any:
    value = getattr(message, name)
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    match value:
        case Timestamp():
            return value.ToDatetime(UTC) if message.HasField(name) else None
        case MutableSequence():
            return tuple(value)
        case int() if enum is not None:
            return _word(enum, value)
        case _:
            return value


def _word(enum: Any, number: int) -> str:
    """VERSION_STATE_ACTIVE -> "active"; a number that only a newer server knows -> "unknown"."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    known = enum.values_by_number.get(number)
    return known.name.removeprefix(prefix).lower() if known else "unknown"


def _floats(packed: bytes) -> tuple[float, ...]:
    """Little-endian float32 values."""
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def prediction_from(item: inference_pb2.PredictItem, text: str) -> Prediction | HonedError:
    """The answer for one text, or why there is none."""
    if item.HasField("error"):
        return error_from_status(item.error)
    answer = item.prediction
    return Prediction(
        prediction_id=answer.prediction_id,
        model=answer.model,
        version=answer.version,
        revision=answer.revision,
        label_set_version=answer.label_set_version,
        scores=tuple(Score(score.label, score.probability) for score in answer.scores),
        text=text,
        num_tokens=answer.num_tokens,
        truncated=answer.truncated,
        queue_time_s=answer.queue_time.ToNanoseconds() / 1e9,
        compute_time_s=answer.compute_time.ToNanoseconds() / 1e9,
        logits=_floats(answer.logits),
        logit_labels=tuple(answer.logit_labels),
        embedding=_floats(answer.embedding),
    )


def item_message(item: FeedbackItem) -> feedback_pb2.FeedbackItem:
    """The message for one label."""
    message = feedback_pb2.FeedbackItem(
        idempotency_key=item.idempotency_key,
        prediction_id=item.prediction_id,
        text=item.text,
        label=item.label,
        kind=f"FEEDBACK_KIND_{FeedbackKind(item.kind).name}",
        submitter=item.submitter,
        weight=item.weight,
        retracts=item.retracts,
    )
    if item.event_time is not None:
        message.event_time.FromDatetime(item.event_time)
    return message


def ack_from(result: feedback_pb2.SubmitResult) -> FeedbackAck | HonedError:
    """The acknowledgement of one label, or why it was not recorded."""
    if result.HasField("error"):
        return error_from_status(result.error)
    return value_from(result.ack, FeedbackAck)


def deletion_from(response: feedback_pb2.DeleteFeedbackResponse) -> Deletion:
    """The record of a deletion."""
    return Deletion(
        results=tuple(
            error_from_status(result.error)
            if result.HasField("error")
            else value_from(result.tombstone, FeedbackRecord)
            for result in response.results
        ),
        position=response.position,
        served_version=response.served_version,
        served_revision=response.served_revision,
        tainted_versions=tuple(response.tainted_versions),
    )


def event_from(event: models_pb2.ModelEvent) -> ModelEvent:
    """One event, with the model after it."""
    return ModelEvent(
        kind=_plain(event, "kind"),
        model=value_from(event.model, Model),
        time=_plain(event, "time"),
    )
