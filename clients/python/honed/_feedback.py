"""Calls of the Feedback service: labels in, acknowledgements and records out."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from honed import _rpcs
from honed._connection import Connection
from honed._convert import ack_from, deletion_from, item_message, value_from, value_or_raise
from honed.errors import HonedError
from honed.types import (
    AnchorImport,
    Deletion,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Prediction,
    new_key,
)
from honed_proto.v1 import feedback_pb2


class FeedbackCalls:
    """Labels, the part of `Client` that speaks to `honed.v1.Feedback`."""

    _connection: Connection

    def submit(
        self,
        prediction: Prediction | None = None,
        *,
        label: str | None = None,
        model: str | None = None,
        text: str | None = None,
        kind: FeedbackKind | None = None,
        submitter: str = "",
        weight: float = 1.0,
        event_time: datetime | None = None,
        idempotency_key: str | None = None,
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> FeedbackAck:
        """Submits one label: about a prediction, or for a text.

        Args:
            prediction: The answer this is about; it supplies `model` and `text`.
            label: The right label; the predicted one if None.
            model: Name of the model; needed without a prediction.
            text: The labelled text; needed without a prediction.
            kind: If None: CONFIRMATION when the label is the predicted one, CORRECTION when it
                differs, AUDIT when there is no prediction.
            submitter: Who says so.
            weight: How much it counts, (0, 10].
            event_time: When it was labelled; the time of arrival if None.
            idempotency_key: Makes a repetition harmless, for ever; random if None.
            wait: Whether to return only when a revision that has learned it serves, or shortly
                before the deadline (then `served` is False).
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            TypeError: Neither a prediction nor all of `model`, `text` and `label` are given.
        """
        if prediction is not None:
            model = prediction.model if model is None else model
            text = prediction.text if text is None else text
            confirmed = label is None or label == prediction.label
            kind = kind or (FeedbackKind.CONFIRMATION if confirmed else FeedbackKind.CORRECTION)
            label = prediction.label if label is None else label
        if model is None or text is None or label is None:
            raise TypeError("submit() needs a prediction, or model, text and label")
        item = FeedbackItem(
            text=text,
            label=label,
            kind=kind or FeedbackKind.AUDIT,
            prediction_id=prediction.prediction_id if prediction is not None else "",
            submitter=submitter,
            weight=weight,
            event_time=event_time,
            idempotency_key=idempotency_key or new_key(),
        )
        (result,) = self.submit_many(model, [item], wait, timeout_s)
        return value_or_raise(result)

    def submit_many(
        self,
        model: str,
        items: Iterable[FeedbackItem],
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> list[FeedbackAck | HonedError]:
        """Submits 1 to 256 labels in one call; each is recorded or refused by itself.

        Args:
            model: Name of the model.
            items: The labels.
            wait: Whether to return only when a revision that has learned all of them serves.
            timeout_s: Deadline in seconds; the client's if None.

        Returns:
            The acknowledgement or the error of each item, in order.
        """
        request = feedback_pb2.SubmitRequest(
            model=model, items=map(item_message, items), wait_until_served=wait
        )
        response = self._connection.call(_rpcs.SUBMIT, request, timeout_s)
        return [ack_from(result) for result in response.results]

    def retract(
        self,
        model: str,
        feedback_id: str,
        submitter: str = "",
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> FeedbackAck:
        """Withdraws an earlier label: it stays in the log and trains no more."""
        item = FeedbackItem(kind=FeedbackKind.RETRACTION, retracts=feedback_id, submitter=submitter)
        (result,) = self.submit_many(model, [item], wait, timeout_s)
        return value_or_raise(result)

    def delete(
        self,
        model: str,
        feedback_ids: Iterable[str],
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Deletion:
        """Forgets 1 to 256 labels: text, label, vector and influence. Repeating is harmless.

        Returns when a revision without them serves, with a record that can be checked.
        """
        request = feedback_pb2.DeleteFeedbackRequest(
            model=model, feedback_ids=feedback_ids, requested_by=requested_by
        )
        return deletion_from(self._connection.call(_rpcs.DELETE_FEEDBACK, request, timeout_s))

    def list_feedback(
        self,
        model: str,
        label: str = "",
        submitter: str = "",
        page_size: int = 100,
        timeout_s: float | None = None,
    ) -> Iterator[FeedbackRecord]:
        """Iterates over the log of a model in order, deleted entries as tombstones.

        Args:
            model: Name of the model.
            label: Only entries with this label; empty means all.
            submitter: Only entries of this submitter; empty means all.
            page_size: Entries fetched by one call, 1 to 1,000.
            timeout_s: Deadline of each call in seconds; the client's if None.
        """
        request = feedback_pb2.ListFeedbackRequest(
            model=model, label=label, submitter=submitter, page_size=page_size
        )
        while True:
            page = self._connection.call(_rpcs.LIST_FEEDBACK, request, timeout_s)
            yield from (value_from(record, FeedbackRecord) for record in page.records)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def import_anchor(
        self,
        model: str,
        examples: Iterable[tuple[str, str]],
        replace: bool = False,
        timeout_s: float | None = None,
    ) -> AnchorImport:
        """Adds trusted labels that never train: they guard learning and gate promotions.

        Args:
            model: Name of the model.
            examples: 1 to 1,000 pairs of text and label; a text that is known gets this label.
            replace: Whether to drop the present anchor set first.
            timeout_s: Deadline in seconds; the client's if None.
        """
        request = feedback_pb2.ImportAnchorRequest(
            model=model,
            examples=(
                feedback_pb2.AnchorExample(text=text, label=label) for text, label in examples
            ),
            replace=replace,
        )
        response = self._connection.call(_rpcs.IMPORT_ANCHOR, request, timeout_s)
        return value_from(response, AnchorImport)
