"""`honed.v1` messages <-> the values of `types.py`."""

import struct
from collections.abc import MutableSequence, Sequence
from dataclasses import fields, replace
from datetime import UTC
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from honed._status import error_from_status
from honed.errors import HonedError, ServerError
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
    """Builds a value from the message fields of the same names.

    Timestamps become aware datetimes (None if unset), scores `Score`s, repeated fields tuples, and
    enumerations lower-case words. What has no such field keeps its default.
    """
    known = message.DESCRIPTOR.fields_by_name
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # only dataclasses
    return kind(**{name: _plain(message, name) for name in names if name in known})


def only(results: Sequence[Value | HonedError]) -> Value:
    """The outcome of a single item, raised if it is an error."""
    (result,) = results
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
            return tuple(map(_element, value))
        case int() if enum is not None:
            return _word(enum, value)
        case _:
            return value


def _element(value: Any) -> Any:
    if isinstance(value, inference_pb2.Score):
        return Score(value.label, value.probability)
    return value


def _word(enum: Any, number: int) -> str:
    """VERSION_STATE_ACTIVE -> "active"; a number that only a newer server knows -> "unknown"."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    known = enum.values_by_number.get(number)
    return known.name.removeprefix(prefix).lower() if known else "unknown"


def _floats(packed: bytes) -> tuple[float, ...]:
    """Little-endian float32 values."""
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def predictions_from(
    response: inference_pb2.PredictResponse, texts: Sequence[str]
) -> list[Prediction | HonedError]:
    """The answers for some texts.

    Raises:
        HonedError: The request failed as a whole, or the server did not answer each text.
    """
    if response.HasField("error"):
        raise error_from_status(response.error)
    if len(response.items) != len(texts):
        message = f"the server gave {len(response.items)} answers to {len(texts)} texts"
        raise ServerError(message, "ANSWER_UNKNOWN")
    return list(map(_prediction, response.items, texts))


def _prediction(item: inference_pb2.PredictItem, text: str) -> Prediction | HonedError:
    """The answer for one text, or why there is none."""
    if not item.HasField("prediction"):
        return _error(item)
    answer = item.prediction
    return Prediction(
        prediction_id=answer.prediction_id,
        model=answer.model,
        version=answer.version,
        revision=answer.revision,
        label_set_version=answer.label_set_version,
        scores=tuple(map(_element, answer.scores)),
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
    return value_from(result.ack, FeedbackAck) if result.HasField("ack") else _error(result)


def deletion_from(response: feedback_pb2.DeleteFeedbackResponse) -> Deletion:
    """The record of a deletion."""
    return Deletion(
        results=tuple(
            value_from(result.tombstone, FeedbackRecord)
            if result.HasField("tombstone")
            else _error(result)
            for result in response.results
        ),
        position=response.position,
        served_version=response.served_version,
        served_revision=response.served_revision,
        tainted_versions=tuple(response.tainted_versions),
    )


def model_from(message: models_pb2.Model) -> Model:
    """A model; where an old server is mute, as that server behaves.

    All that a model without an own head knows is learned, and answers are in float32.
    """
    model = value_from(message, Model)
    weight = model.learned_weight if model.own_head_version else 1.0
    return replace(model, learned_weight=weight, precision=model.precision or "fp32")


def event_from(event: models_pb2.ModelEvent) -> ModelEvent:
    """One event, with the model after it."""
    return ModelEvent(
        kind=_plain(event, "kind"),
        model=model_from(event.model),
        time=_plain(event, "time"),
    )


def _error(result: Any) -> HonedError:
    """Why an item has no value: its error, or that only a newer SDK knows what it has instead."""
    if result.HasField("error"):
        return error_from_status(result.error)
    return ServerError("the server answered with what this SDK does not know", "ANSWER_UNKNOWN")
