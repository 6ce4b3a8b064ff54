"""The errors that a caller of the server may meet, each with one gRPC status.

Raised anywhere below the RPC layer, turned into a status with google.rpc details in `rpc.py`.
Every message names what was wrong and what to do.
"""

from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "honed"
# A status travels three times in HTTP/2 trailers, percent-encoded once; above 8 KiB of trailers
# gRPC clients drop the whole connection.
_MAX_MESSAGE_BYTES = 1000


class ServingError(Exception):
    """Base of all errors that a client may cause or meet; never raised itself.

    Args:
        message: One sentence: what was wrong and what to do.
        reason: Stable upper-case identifier (google.rpc.ErrorInfo.reason); the class has a default.
        field: Request field that was wrong, as a path such as `texts[3]`.
        retry_after_s: Seconds after which trying again makes sense.
        metadata: Further facts for programs (google.rpc.ErrorInfo.metadata).
    """

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        message = _shortened(message)
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    def to_status(self) -> status_pb2.Status:
        """The error as a google.rpc.Status with ErrorInfo, BadRequest, RetryInfo as they apply."""
        details: list[Any] = [_packed(self._error_info())]
        if self.field is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.field, description=self.message
            )
            details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after_s * 1e9))
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        number: int = self.code.value[0]
        return status_pb2.Status(code=number, message=self.message, details=details)

    def _error_info(self) -> error_details_pb2.ErrorInfo:
        return error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )


def _shortened(message: str) -> str:
    data = message.encode()
    if len(data) <= _MAX_MESSAGE_BYTES:
        return message
    return data[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + "..."


def _packed(message: object) -> Any:
    packed = Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


class InvalidRequest(ServingError):
    """The caller sent something that can never be right: correct the field that is named."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_REQUEST"


class UnknownModel(ServingError):
    """No model of that name: create it or correct the name."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "UNKNOWN_MODEL"


class NotFound(ServingError):
    """A version, prediction or feedback entry that does not exist: correct the identifier."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class Conflict(ServingError):
    """The key or name is taken by something else: choose another."""

    code = grpc.StatusCode.ALREADY_EXISTS
    default_reason = "CONFLICT"


class NotReady(ServingError):
    """The model or version cannot do that in its present state: do first what is named."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "NOT_READY"


class Overloaded(ServingError):
    """More work than can be done in time, or a full disk: try again after `retry_after_s`."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "QUEUE_FULL"


class DeadlinePassed(ServingError):
    """The caller's deadline passed before the work was done: allow more time or send less."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class Unavailable(ServingError):
    """A part of the server is down (engine, store, adapt process) or draining: try again later."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class InternalFailure(ServingError):
    """The server has a bug; its log has the details. Nothing a client sends may cause this."""

    default_reason = "INTERNAL_FAILURE"


class SlowWatcher(ServingError):
    """The watcher read too slowly and missed events: watch again from the present state."""

    code = grpc.StatusCode.ABORTED
    default_reason = "WATCHER_TOO_SLOW"
