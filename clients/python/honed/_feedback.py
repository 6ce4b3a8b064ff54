"""Calls of the Feedback service: labels in, acknowledgements and records out."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from honed import _rpcs
from honed._call import Awaiting, Blocking, Both, Call, method
from honed._convert import ack_from, item_message, only, value_from
from honed._deletions import DeletionCalls
from honed.errors import HonedError
from honed.types import (
    AnchorImport,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Prediction,
    SpoolFlush,
    new_key,
)
from honed_proto.v1 import feedback_pb2

if TYPE_CHECKING:
    from honed._spool import Spool

_SPOOLED = FeedbackAck("", 0, False, False, 0, 0, False, spooled=True)


class FeedbackCalls(DeletionCalls):
    """Labels, the part of both clients that speaks to `honed.v1.Feedback`."""

    @method
    def submit(
        self,
        prediction: Prediction | None = None,
        *,
        label: str | Mapping[str, float] | None = None,
        model: str | None = None,
        text: str | None = None,
        kind: FeedbackKind | None = None,
        submitter: str = "",
        weight: float = 1.0,
        event_time: datetime | None = None,
        idempotency_key: str | None = None,
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> Call[FeedbackAck]:
        """Submits one label: about a prediction, or for a text.

        Args:
            prediction: The answer this is about; it supplies `model` and `text`.
            label: The right label, or a mapping of labels to shares, see `FeedbackItem`; the
                predicted one if None.
            model: Name of the model; needed without a prediction.
            text: The labelled text; needed without a prediction.
            kind: If None: CONFIRMATION when the label (of several the one with the largest share)
                is the predicted one, CORRECTION when it differs, AUDIT when there is no prediction.
            submitter: Who says so.
            weight: How much it counts, 0.000001 to 10.
            event_time: When it was labelled; the time of arrival if None.
            idempotency_key: Makes a repetition harmless, for ever; random if None.
            wait: Whether to return only when a revision that has learned it serves, or shortly
                before the deadline (then `served` is False).
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            TypeError: Neither a prediction nor all of `model`, `text` and `label` are given.

        Example:
            >>> answer = client.predict("support", "where is my order?")
            >>> client.submit(answer, label="order_status", wait=True).served
            True
        """
        if prediction is not None:
            model = prediction.model if model is None else model
            text = prediction.text if text is None else text
            confirmed = label is None or _likeliest(label) == prediction.label
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
        return _submit(model, [item], wait, timeout_s).map(only)

    @method
    def submit_many(
        self,
        model: str,
        items: Iterable[FeedbackItem],
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> Call[list[FeedbackAck | HonedError]]:
        """Submits 1 to 256 labels in one call; each is recorded or refused by itself.

        Args:
            model: Name of the model.
            items: The labels.
            wait: Whether to return only when a revision that has learned all of them serves.
            timeout_s: Deadline in seconds; the client's if None.

        Returns:
            The acknowledgement or the error of each item, in order.

        Example:
            >>> item = FeedbackItem("how do I pay by card?", "payment")
            >>> (ack,) = client.submit_many("support", [item])
            >>> ack.already_recorded
            False
        """
        return _submit(model, items, wait, timeout_s)

    @method
    def retract(
        self,
        model: str,
        feedback_id: str,
        submitter: str = "",
        wait: bool = False,
        timeout_s: float | None = None,
    ) -> Call[FeedbackAck]:
        """Withdraws an earlier label: it stays in the log and trains no more.

        Example:
            >>> ack = client.submit(model="support", text="hi", label="greeting")
            >>> client.retract("support", ack.feedback_id).position > ack.position
            True
        """
        item = FeedbackItem(kind=FeedbackKind.RETRACTION, retracts=feedback_id, submitter=submitter)
        return _submit(model, [item], wait, timeout_s).map(only)

    @method
    def list_feedback(
        self,
        model: str,
        label: str = "",
        submitter: str = "",
        page_size: int = 100,
        timeout_s: float | None = None,
    ) -> Both[Iterator[FeedbackRecord], AsyncIterator[FeedbackRecord]]:
        """Iterates over the log of a model in order, deleted entries as tombstones.

        Args:
            model: Name of the model.
            label: Only entries with this label; empty means all.
            submitter: Only entries of this submitter; empty means all.
            page_size: Entries fetched by one call, 1 to 1,000.
            timeout_s: Deadline of each call in seconds; the client's if None.

        Example:
            >>> next(client.list_feedback("support", label="order_status")).label
            'order_status'
        """
        request = feedback_pb2.ListFeedbackRequest(
            model=model, label=label, submitter=submitter, page_size=page_size
        )
        return Both(
            lambda client: _pages(client, request, timeout_s),
            lambda client: _async_pages(client, request, timeout_s),
        )

    @method
    def flush_spool(self) -> Both[SpoolFlush, Coroutine[Any, Any, SpoolFlush]]:
        """Sends the feedback that waits in the spool now, and what other processes left there.

        The client does so by itself, within 15 seconds after the server is back.

        Raises:
            ValueError: The client was made without a spool.
            HonedError: The server still cannot take it; what is left still waits.

        Example:
            >>> with Client(client.target, spool=folder) as careful:
            ...     careful.flush_spool()
            SpoolFlush(recorded=0, rejected=0)
        """
        return Both(
            lambda client: _spool_of(client).flush(),
            lambda client: asyncio.to_thread(_spool_of(client).flush),
        )

    @method
    def import_anchor(
        self,
        model: str,
        examples: Iterable[tuple[str, str]],
        replace: bool = False,
        timeout_s: float | None = None,
    ) -> Call[AnchorImport]:
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
        return Call(
            _rpcs.IMPORT_ANCHOR, request, lambda answer: value_from(answer, AnchorImport), timeout_s
        )


def _likeliest(label: str | Mapping[str, float]) -> str:
    """The label with the largest share, of equal ones the first by name, as the server has it."""
    if isinstance(label, str) or not label:
        return str(label or "")
    return min(label, key=lambda name: (-label[name], name))


def _spool_of(client: Blocking | Awaiting) -> "Spool":
    if client._spool is None:
        raise ValueError("this client has no spool; make it with spool=PATH")
    return client._spool


def _submit(
    model: str, items: Iterable[FeedbackItem], wait: bool, timeout_s: float | None
) -> Call[list[FeedbackAck | HonedError]]:
    request = feedback_pb2.SubmitRequest(
        model=model, items=map(item_message, items), wait_until_served=wait
    )
    return Call(
        _rpcs.SUBMIT,
        request,
        lambda answer: [ack_from(result) for result in answer.results],
        timeout_s,
        spooled=[_SPOOLED] * len(request.items),
    )


def _pages(
    client: Blocking, request: feedback_pb2.ListFeedbackRequest, timeout_s: float | None
) -> Iterator[FeedbackRecord]:
    while True:
        page = client._connection.call(_rpcs.LIST_FEEDBACK, request, timeout_s)
        yield from (value_from(record, FeedbackRecord) for record in page.records)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _async_pages(
    client: Awaiting, request: feedback_pb2.ListFeedbackRequest, timeout_s: float | None
) -> AsyncIterator[FeedbackRecord]:
    while True:
        page = await client._connection.call(_rpcs.LIST_FEEDBACK, request, timeout_s)
        for record in page.records:
            yield value_from(record, FeedbackRecord)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
