"""gRPC statuses -> the errors of `errors.py`, for whole calls and for single items."""

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from honed.errors import (
    Conflict,
    DeadlineExceeded,
    HonedError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServerError,
    ServerTooOld,
    Unavailable,
)

_DOMAIN = "honed"
_DETAILS_KEY = "grpc-status-details-bin"
_CLASSES: dict[str, type[HonedError]] = {
    status: kind
    for kind in (
        InvalidRequest,
        NotFound,
        Conflict,
        Overloaded,
        DeadlineExceeded,
        Unavailable,
        ServerError,
    )
    for status in kind.statuses
}

Detail = TypeVar("Detail", bound=Message)


def error_from_status(status: status_pb2.Status) -> HonedError:
    """Turns a `google.rpc.Status` into the error of its kind, with all its details."""
    known = status.code in code_pb2.Code.values()
    name = code_pb2.Code.Name(status.code) if known else "UNKNOWN"
    info = _detail(status, error_details_pb2.ErrorInfo)
    ours = info.domain == _DOMAIN
    retry = _detail(status, error_details_pb2.RetryInfo)
    invalid = _detail(status, error_details_pb2.BadRequest)
    return _CLASSES.get(name, ServerError)(
        message=status.message or name,
        reason=info.reason if ours else name,
        status=name,
        details=info.metadata if ours else None,
        violations={broken.field: broken.description for broken in invalid.field_violations},
        retry_after_s=(
            retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
        ),
    )


def error_from_call(
    call: grpc.Call, target: str, timeout_s: float | None, method: str = "this call"
) -> HonedError:
    """Turns a failed call into an error.

    Args:
        call: The finished call.
        target: Address that was called, for the message.
        timeout_s: Deadline of the call in seconds, None for none.
        method: What was called, for the message.
    """
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return error_from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # not our server's doing: the plain status is still true
    name, text = call.code().name, call.details() or ""
    if name == "UNIMPLEMENTED":
        message = f"the server at {target} is older than this SDK and lacks {method}; upgrade it"
        return ServerTooOld(message, "SERVER_TOO_OLD", name)
    return _error_without_details(name, text, target, timeout_s)


def _error_without_details(
    name: str, text: str, target: str, timeout_s: float | None
) -> HonedError:
    """Words for what gRPC itself reports: a Honed server always sends details."""
    if name == "UNAVAILABLE":
        message = (
            f"no Honed server answers at {target} ({text}); start one with `honed serve`, or name "
            "another address with HONED_TARGET, --target or Client(target)"
        )
        return Unavailable(message, "SERVER_UNREACHABLE", name)
    if name == "DEADLINE_EXCEEDED" and timeout_s is not None:
        message = f"no answer from {target} within {timeout_s:g} s; allow more time or send less"
        return DeadlineExceeded(message, name, name)
    # gRPC reports an oversized message under the status of overload, where a retry never helps.
    if name == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        return InvalidRequest(f"{text}; send fewer items a call", "MESSAGE_TOO_LARGE", name)
    return _CLASSES.get(name, ServerError)(text or name, name, name)


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail:
    """The first detail of this kind, or an empty one."""
    found = kind()
    for packed in status.details:
        try:
            if packed.Unpack(found):
                break
        except DecodeError:
            found.Clear()
    return found
