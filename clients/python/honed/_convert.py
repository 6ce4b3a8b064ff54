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
from honed.review_types import (
    Accuracy,
    Influence,
    ReviewItem,
    SubmitterReport,
    Suspect,
    TokenAttribution,
)
from honed.round_types import Round
from honed.types import (
    Deletion,
    DeletionRecord,
    Drift,
    Expert,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    LabelShare,
    Learning,
    Model,
    ModelEvent,
    Policy,
    Prediction,
    Score,
    TaintedVersion,
    Trial,
)
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

Value = TypeVar("Value")


def value_from(message: Message, kind: type[Value]) -> Value:
    """Builds a value from the message fields of the same names.

    Timestamps become aware datetimes, messages the values of the same names, repeated fields
    tuples, and enumerations lower-case words. Timestamps and optional numbers that are unset become
    None. What has no such field keeps its default.
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
    value, field = getattr(message, name), message.DESCRIPTOR.fields_by_name[name]
    enum = field.enum_type
    match value:
        case Timestamp():
            return value.ToDatetime(UTC) if message.HasField(name) else None
        case MutableSequence():
            return tuple(map(_element, value))
        case int() if enum is not None:
            return _word(enum, value)
        case float() if field.has_presence and not message.HasField(name):
            return None
        case _:
            return _element(value)


def _element(value: Any) -> Any:
    if isinstance(value, inference_pb2.Score):
        return Score(value.label, value.probability)
    if isinstance(value, Message):
        return value_from(value, _VALUES[value.DESCRIPTOR.name])
    return value


# What the messages inside of others become.
_VALUES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Influence, TokenAttribution, ReviewItem, Accuracy, Suspect, FeedbackRecord,
        LabelShare, SubmitterReport, Learning, Expert, Drift, Policy, Trial, TaintedVersion,
    )
}  # fmt: skip


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
        out_of_scope_score=answer.out_of_scope_score,
        out_of_scope=answer.out_of_scope,
        prediction_set=tuple(answer.prediction_set),
    )


def item_message(item: FeedbackItem) -> feedback_pb2.FeedbackItem:
    """The message for one label."""
    message = feedback_pb2.FeedbackItem(
        idempotency_key=item.idempotency_key,
        prediction_id=item.prediction_id,
        text=item.text,
        label=item.label if isinstance(item.label, str) else "",
        kind=f"FEEDBACK_KIND_{FeedbackKind(item.kind).name}",
        submitter=item.submitter,
        weight=item.weight,
        retracts=item.retracts,
    )
    if not isinstance(item.label, str):
        if not item.label:
            raise ValueError("label is a mapping without labels; name one at least")
        shares = item.label.items()
        message.shares.extend(feedback_pb2.LabelShare(label=k, share=v) for k, v in shares)
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
        deleted=response.deleted,
        record=value_from(response.record, DeletionRecord) if response.HasField("record") else None,
    )


def model_from(message: models_pb2.Model) -> Model:
    """A model; where an old server is mute, as that server behaves.

    All that a model without an own head knows is learned, and answers are in float32.
    """
    model = value_from(message, Model)
    weight = model.learned_weight if model.own_head_version else 1.0
    policy = Policy()
    if message.HasField("policy"):
        interval_s = message.policy.round_interval.ToNanoseconds() / 1e9
        policy = replace(model.policy, round_interval_s=interval_s)
    return replace(
        model,
        learned_weight=weight,
        precision=model.precision or "fp32",
        policy=policy,
        trial=model.trial if message.HasField("trial") else None,
    )


def round_from(message: models_pb2.Round) -> Round:
    """A fine-tuning round."""
    plain = {
        each.name: _plain(message, each.name)
        for each in fields(Round)
        if each.name != "remaining_s"
    }
    return Round(**plain, remaining_s=message.remaining.ToNanoseconds() / 1e9)


def policy_message(policy: Policy) -> models_pb2.Policy:
    """The message for a policy."""
    message = models_pb2.Policy(
        promotion=f"PROMOTION_{policy.promotion.upper()}",
        **{
            item.name: getattr(policy, item.name)
            for item in fields(Policy)
            if item.name not in ("promotion", "round_interval_s")
        },
    )
    if policy.round_interval_s:
        message.round_interval.FromNanoseconds(int(policy.round_interval_s * 1e9))
    return message


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
