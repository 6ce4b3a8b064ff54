"""The edge of the server: raw bytes to messages and errors to statuses, for every RPC alike.

Handlers receive bytes and parse inside: grpc.aio answers unparsable bytes with UNKNOWN, which
blames the server for the client's fault (research/reliability_ecosystem.md, decision 7).
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from honed_adapt.storage.errors import StoreBusy, StoreError, StoreFull
from honed_server.edge.errors import (
    InternalFailure,
    InvalidRequest,
    Overloaded,
    ServingError,
    Unavailable,
)
from honed_server.edge.metrics import Metrics

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    # Generic in the stubs only.
    Context = grpc.aio.ServicerContext[bytes, bytes]
RequestT = TypeVar("RequestT", bound=Message)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS = "grpc-status-details-bin"
_DISK_RETRY_S = 5.0
# Share of the time left that is kept for sending an answer, and the most of it, in seconds.
_ANSWER_SHARE, _ANSWER_MARGIN_S = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler may know about the call that it answers."""

    deadline: float  # monotonic seconds
    peer: str

    def remaining_s(self) -> float:
        """Seconds until the deadline, negative when it has passed."""
        return self.deadline - monotonic()

    def patience_s(self) -> float:
        """Seconds that a handler may wait and still be heard before the deadline."""
        remaining_s = self.remaining_s()
        return remaining_s - min(_ANSWER_SHARE * remaining_s, _ANSWER_MARGIN_S)


@dataclass(frozen=True, slots=True)
class Edge:
    """Makes RPC handlers that parse, measure, and turn errors into statuses."""

    metrics: Metrics
    default_deadline_s: float

    def unary(
        self,
        method: str,
        request_type: type[RequestT],
        handler: Callable[[RequestT, Call], Awaitable[Message]],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """One request, one response."""

        async def handle(payload: bytes, context: Context) -> bytes:
            with self.metrics.rpc(method) as outcome:
                try:
                    request = _parse(payload, request_type)
                    response = await handler(request, self._call(context))
                    return response.SerializeToString()
                except Exception as error:  # noqa: BLE001 - the edge: every failure gets a status
                    status = outcome.status = _status(error, method)
                return await _abort(context, status)

        return grpc.unary_unary_rpc_method_handler(handle)

    def server_stream(
        self,
        method: str,
        request_type: type[RequestT],
        handler: Callable[[RequestT, Call], AsyncIterator[Message]],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """One request, many responses."""

        async def handle(payload: bytes, context: Context) -> AsyncIterator[bytes]:
            with self.metrics.rpc(method) as outcome:
                try:
                    request = _parse(payload, request_type)
                    async for response in handler(request, self._call(context, inf)):
                        yield response.SerializeToString()
                    return
                except Exception as error:  # noqa: BLE001 - the edge: every failure gets a status
                    status = outcome.status = _status(error, method)
                await _abort(context, status)

        return grpc.unary_stream_rpc_method_handler(handle)

    def client_stream(
        self,
        method: str,
        request_type: type[RequestT],
        handler: Callable[[AsyncIterator[RequestT], Call], Awaitable[Message]],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Many requests, one response."""

        async def handle(payloads: AsyncIterator[bytes], context: Context) -> bytes:
            with self.metrics.rpc(method) as outcome:
                try:
                    requests = (_parse(payload, request_type) async for payload in payloads)
                    response = await handler(requests, self._call(context, inf))
                    return response.SerializeToString()
                except Exception as error:  # noqa: BLE001 - the edge: every failure gets a status
                    status = outcome.status = _status(error, method)
                return await _abort(context, status)

        return grpc.stream_unary_rpc_method_handler(handle)

    def bidirectional(
        self,
        method: str,
        request_type: type[RequestT],
        handler: Callable[[AsyncIterator[RequestT], Call], AsyncIterator[Message]],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Many requests, many responses."""

        async def handle(payloads: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            with self.metrics.rpc(method) as outcome:
                try:
                    requests = (_parse(payload, request_type) async for payload in payloads)
                    async for response in handler(requests, self._call(context, inf)):
                        yield response.SerializeToString()
                    return
                except Exception as error:  # noqa: BLE001 - the edge: every failure gets a status
                    status = outcome.status = _status(error, method)
                await _abort(context, status)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _call(self, context: Context, default_s: float | None = None) -> Call:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            remaining = self.default_deadline_s if default_s is None else default_s
        return Call(deadline=monotonic() + remaining, peer=context.peer())


def _parse(payload: bytes, request_type: type[RequestT]) -> RequestT:
    try:
        return request_type.FromString(payload)
    except DecodeError as error:
        name = request_type.DESCRIPTOR.full_name
        raise InvalidRequest(
            f"the request is not a valid {name} message ({error}); "
            "strings must be UTF-8 and the client must use the same .proto",
            reason="MALFORMED_MESSAGE",
        ) from error


def _status(error: Exception, method: str) -> status_pb2.Status:
    if isinstance(error, ServingError):
        return error.to_status()
    if isinstance(error, StoreError | OSError) and (trouble := _disk_trouble(error)):
        log.error("the disk refused a call", method=method, why=str(error))
        return trouble.to_status()
    log.error("bug in a handler", method=method, exc_info=error)
    return InternalFailure("the server has a bug; its log has the details").to_status()


def _disk_trouble(error: StoreError | OSError) -> ServingError | None:
    """What a caller should know of a store or disk that failed; None if it did not."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, StoreFull) or number in (errno.ENOSPC, errno.EDQUOT):
        return Overloaded(
            f"{error}; free space on the server, no restart is needed",
            reason="DISK_FULL",
            retry_after_s=_DISK_RETRY_S,
        )
    if isinstance(error, StoreBusy):
        return Unavailable(str(error), reason="STORE_BUSY", retry_after_s=1.0)
    if isinstance(error, StoreError) or number in (errno.EIO, errno.EROFS):
        return Unavailable(
            f"{error}; see the server's disk and log, then restart it", reason="STORE_FAILED"
        )
    return None


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    trailing: tuple[tuple[str, str | bytes], ...] = ((_DETAILS, status.SerializeToString()),)
    context.set_trailing_metadata(trailing)
    await context.abort(_CODES[status.code], status.message)
