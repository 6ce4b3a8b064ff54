"""What can go wrong, as one small family: catch `HonedError`, or the one kind you can act on.

A server sends a gRPC status with `google.rpc` details; `_status.py` turns it into one of these.
The same errors stand in the lists of `predict_many` and `submit_many`, one for each failed item.
"""

from collections.abc import Mapping
from typing import ClassVar


class HonedError(Exception):
    """Any refusal or failure of a call, or of one item of a call.

    Attributes:
        message: One sentence for people: what is wrong and what to do.
        reason: UPPER_SNAKE_CASE word for programs, for example "UNKNOWN_MODEL".
        status: Canonical gRPC status name, for example "NOT_FOUND".
        details: Facts behind the reason, by name, for example {"model": "support"}.
        violations: For invalid requests: what is wrong, by request field ("texts[3]").
        retry_after_s: How long to wait before trying again, in seconds, if the server said so.
    """

    statuses: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        reason: str = "UNKNOWN",
        status: str = "UNKNOWN",
        details: Mapping[str, str] | None = None,
        violations: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.status = status
        self.details = dict(details or {})
        self.violations = dict(violations or {})
        self.retry_after_s = retry_after_s


class InvalidRequest(HonedError):
    """The request itself, or its moment, is wrong; sending it again will not help.

    Raised by the server before it does any work: a field breaks a rule (see `violations`), or the
    model is not ready for it (it has learned no label yet). Correct the request.
    """

    statuses = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE")


class NotFound(HonedError):
    """No such model, version, prediction or feedback entry.

    Raised by the server. Check the name (`list_models`, `list_versions`, `list_feedback`); an old
    prediction id may have left the log: send the text along.
    """

    statuses = ("NOT_FOUND",)


class Conflict(HonedError):
    """The request contradicts what the server already holds.

    Raised by the server: an idempotency key was used with other content, a model's name was used
    before, or a watcher read so slowly that it missed events. Read the present state and decide
    anew.
    """

    statuses = ("ALREADY_EXISTS", "ABORTED")


class Overloaded(HonedError):
    """The server refused the work, so that it can finish what it has accepted.

    Raised by the server at once when its queue, or its disk, is full; nothing was recorded. The
    SDK never repeats such a call by itself: wait `retry_after_s`, then send less. Raised by the
    SDK when the client's spool is full (SPOOL_FULL), or before a prediction is sent that would most
    likely be refused, as most before it were (THROTTLED).
    """

    statuses = ("RESOURCE_EXHAUSTED",)


class DeadlineExceeded(HonedError):
    """The answer did not come in time.

    Raised by the SDK when `timeout_s` has passed, or by the server when it sees that it will. The
    work may have been done: repeat a submission with the same idempotency key.
    """

    statuses = ("DEADLINE_EXCEEDED",)


class Unavailable(HonedError):
    """No server answers, or it cannot serve now.

    Raised by the SDK after safe calls were tried three times (less often while most calls fail),
    with the address in the message; or by the server while it stops or its store fails. Start the
    server, or check the address; a client with a spool keeps feedback meanwhile.
    """

    statuses = ("UNAVAILABLE", "CANCELLED")


class ServerError(HonedError):
    """The server failed.

    Raised for its own faults; its log says more. Raised by the SDK when an answer makes no sense
    to it, or a downloaded file is not what was announced.
    """

    statuses = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED")


class ServerTooOld(ServerError):
    """The server does not know this call, because it is older than this SDK.

    Raised by the SDK; all other calls work. Upgrade the server.
    """
