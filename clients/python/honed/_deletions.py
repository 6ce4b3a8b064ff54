"""Calls of the Feedback service that forget, and that say what was forgotten."""

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from honed import _rpcs
from honed._call import Call, method
from honed._convert import deletion_from, value_from
from honed.types import Deletion, DeletionRecord
from honed_proto.v1 import feedback_pb2


class DeletionCalls:
    """Deletions, the part of both clients that forgets."""

    @method
    def delete(
        self,
        model: str,
        feedback_ids: Iterable[str] = (),
        requested_by: str = "",
        submitter: str = "",
        recorded_from: datetime | None = None,
        recorded_until: datetime | None = None,
        timeout_s: float | None = None,
    ) -> Call[Deletion]:
        """Forgets labels: text, label, vector and influence. Repeating it is harmless.

        Returns when a revision without them serves, with a record that can be checked.

        Args:
            model: Name of the model.
            feedback_ids: 1 to 256 labels; or else name a submitter, a time, or both.
            requested_by: Who asks, for the record.
            submitter: All labels of this submitter.
            recorded_from: Only what was recorded at or after this aware time.
            recorded_until: Only what was recorded before this aware time.
            timeout_s: Deadline in seconds; the client's if None.

        Example:
            >>> ack = client.submit(model="support", text="forget me", label="other")
            >>> client.delete("support", [ack.feedback_id]).results[0].state
            'deleted'
        """
        request = feedback_pb2.DeleteFeedbackRequest(
            model=model,
            feedback_ids=feedback_ids,
            requested_by=requested_by,
            submitter=submitter,
            recorded_from=_timestamp(recorded_from),
            recorded_until=_timestamp(recorded_until),
        )
        return Call(_rpcs.DELETE_FEEDBACK, request, deletion_from, timeout_s)

    @method
    def list_deletions(
        self, model: str, timeout_s: float | None = None
    ) -> Call[list[DeletionRecord]]:
        """Lists what was deleted, oldest first, and which versions still hold of it.

        The model may be one that was deleted as a whole.

        Example:
            >>> all(record.complete for record in client.list_deletions("support"))
            True
        """
        request = feedback_pb2.ListDeletionsRequest(model=model)
        return Call(
            _rpcs.LIST_DELETIONS,
            request,
            lambda answer: [value_from(record, DeletionRecord) for record in answer.deletions],
            timeout_s,
        )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message
