"""Second stop of a label: the message becomes a checked entry for the log, with its prediction."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from honed_adapt.feedback.values import Kind, NewFeedback
from honed_proto.v1 import feedback_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest, NotFound, NotReady, ServingError
from honed_server.feedback.label_names import known_label, read_shares
from honed_server.models.registry import ModelRow
from honed_server.serving.predictions import PredictionLog, PredictionRow

_KINDS = {Kind.CORRECTION, Kind.CONFIRMATION, Kind.AUDIT, Kind.RETRACTION}


class LabelReader:
    """Checks labels, redacts their texts and looks up the predictions that they name.

    Args:
        predictions: The predictions.
        redacted: Takes out of a text what shall not be stored.
    """

    def __init__(self, predictions: PredictionLog, redacted: Callable[[str], str]) -> None:
        self._predictions = predictions
        self._redacted = redacted

    async def read(
        self, model: ModelRow, item: pb.FeedbackItem, at: str
    ) -> NewFeedback | ServingError:
        """The item as the log takes it, or what is wrong with the field under `at`."""
        try:
            return await self._new_feedback(model, item, at)
        except ServingError as error:
            return error

    async def _new_feedback(self, model: ModelRow, item: pb.FeedbackItem, at: str) -> NewFeedback:
        """A checked item with what is known about the prediction that it names."""
        kind = _kind(item.kind, f"{at}.kind")
        new = NewFeedback(
            model=model.name,
            idempotency_key=validate.identifier(
                item.idempotency_key, f"{at}.idempotency_key", required=True
            ),
            text="",
            label="",
            kind=kind,
            submitter=validate.identifier(item.submitter, f"{at}.submitter"),
            weight=validate.weight(item.weight, f"{at}.weight"),
            event_time=_event_time(item, f"{at}.event_time"),
            prediction_id=validate.identifier(item.prediction_id, f"{at}.prediction_id"),
        )
        if kind is Kind.RETRACTION:
            retracts = validate.identifier(item.retracts, f"{at}.retracts", required=True)
            return replace(new, retracts=retracts)
        return await self._labelled(model, item, at, new)

    async def _labelled(
        self, model: ModelRow, item: pb.FeedbackItem, at: str, new: NewFeedback
    ) -> NewFeedback:
        found = await self._prediction(item.prediction_id)
        if item.text:
            validate.text(item.text, f"{at}.text")
        text, label = self._redacted(item.text), item.label
        if found is not None:
            _check_same(found, model.name, text, at)
            text = text or found.text or ""
            if not (label or item.shares) and new.kind is Kind.CONFIRMATION:
                label = found.label
        if not text:
            raise _no_text(item.prediction_id, found, at)
        new = replace(new, text=text, **_label(model, item, label, at))
        if found is None:
            return new
        return replace(
            new,
            predicted_label=found.label,
            predicted_version=found.version,
            predicted_revision=found.revision,
        )

    async def _prediction(self, prediction_id: str) -> PredictionRow | None:
        if not prediction_id:
            return None
        recent = self._predictions.recent(prediction_id)
        return recent or await asyncio.to_thread(self._predictions.find, prediction_id)


def _label(model: ModelRow, item: pb.FeedbackItem, label: str, at: str) -> dict[str, Any]:
    """What the log keeps of the label of an item."""
    if not item.shares:
        return {"label": known_label(model, label, f"{at}.label")}
    shares = read_shares(model, item, at)
    return {"label": shares[0][0], "shares": shares if len(shares) > 1 else ()}


def _kind(number: int, field: str) -> Kind:
    if number in _KINDS:
        return Kind(number)
    raise InvalidRequest(
        f"{field} must be CORRECTION, CONFIRMATION, AUDIT or RETRACTION",
        reason="BAD_KIND" if number else "MISSING_FIELD",
        field=field,
    )


def _event_time(item: pb.FeedbackItem, field: str) -> float:
    return validate.time(item.event_time, field) if item.HasField("event_time") else time.time()


def _check_same(found: PredictionRow, model: str, text: str, at: str) -> None:
    if found.model != model:
        raise InvalidRequest(
            f"{at}.prediction_id is an answer of model {found.model!r}, not of {model!r}",
            reason="MODEL_MISMATCH",
            field=f"{at}.prediction_id",
        )
    if text and found.text is not None and text != found.text:
        raise InvalidRequest(
            f"{at}.text is not the text that prediction {found.prediction_id} answered; "
            "leave one of them out",
            reason="TEXT_MISMATCH",
            field=f"{at}.text",
        )


def _no_text(prediction_id: str, found: PredictionRow | None, at: str) -> ServingError:
    if not prediction_id:
        return InvalidRequest(
            f"{at} names neither a text nor a prediction_id", reason="MISSING_FIELD", field=at
        )
    if found is not None:
        return NotReady(
            f"the text of prediction {prediction_id} is not stored here; send the text along",
            reason="TEXT_NOT_STORED",
            field=f"{at}.text",
        )
    return NotFound(
        f"prediction {prediction_id!r} is not known (any more); send the text along",
        reason="UNKNOWN_PREDICTION",
        field=f"{at}.prediction_id",
    )
