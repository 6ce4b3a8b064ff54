"""One channel to one server: options, deadlines, retries, and errors of the SDK's family."""

import json
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, cast

import grpc

from honed import _rpcs
from honed._convert import event_from
from honed._rpcs import Request, Response, Rpc
from honed._status import error_from_call
from honed.types import ModelEvent
from honed_proto.v1 import models_pb2

_MAX_MESSAGE_BYTES = 32 * 1024 * 1024


def _service_config() -> str:
    """Lets gRPC repeat harmless calls that found no server: three attempts, jittered backoff.

    gRPC keeps the call's deadline over all attempts and sends the very same bytes, so a repeated
    Submit carries the same idempotency keys. Overload is never retried.
    """
    repeatable = [
        {"service": rpc.service, "method": rpc.method} for rpc in _rpcs.ALL if rpc.repeatable
    ]
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": repeatable, "retryPolicy": policy}]})


def channel_options() -> list[tuple[str, str | int]]:
    """The gRPC channel arguments of every Honed client."""
    return [
        ("grpc.service_config", _service_config()),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # gRPC gives up retrying a request that does not fit its buffer (256 KiB if not said).
        ("grpc.per_rpc_retry_buffer_size", _MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A web proxy from the environment would also be asked for 127.0.0.1.
        ("grpc.enable_http_proxy", 0),
    ]


class Connection:
    """Makes calls over one channel; safe to share between threads.

    Args:
        target: Address of the server, "host:port".
        timeout_s: Deadline of a call that names none, in seconds.
    """

    def __init__(self, target: str, timeout_s: float) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(target, options=channel_options())
        self._calls = {rpc.path: self._callable(rpc) for rpc in _rpcs.ALL}

    def _callable(self, rpc: Rpc[Any, Any]) -> Callable[..., Any]:
        make = self._channel.unary_stream if rpc.streams else self._channel.unary_unary
        return make(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )

    def call(
        self, rpc: Rpc[Request, Response], request: Request, timeout_s: float | None = None
    ) -> Response:
        """Makes one call and waits for its answer.

        Raises:
            HonedError: The call failed; see `honed.errors`.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            return cast(Response, self._calls[rpc.path](request, timeout=timeout_s))
        except grpc.RpcError as error:
            raise error_from_call(cast(grpc.Call, error), self.target, timeout_s) from error

    def watch(self, request: models_pb2.WatchRequest, timeout_s: float | None) -> "Watch":
        """Opens a stream of events, without a deadline if `timeout_s` is None."""
        stream = self._calls[_rpcs.WATCH.path](request, timeout=timeout_s)
        return Watch(stream, self.target, timeout_s)

    def close(self) -> None:
        """Closes the channel; calls in progress end with an error."""
        self._channel.close()


class Watch(Iterator[ModelEvent]):
    """What happens to models, event by event; iterate it, and close it when done.

    `close` may be called from another thread, and ends an iteration that waits for an event.
    """

    def __init__(self, stream: Any, target: str, timeout_s: float | None) -> None:
        self._stream = stream
        self._target = target
        self._timeout_s = timeout_s
        self._closed = False

    def __next__(self) -> ModelEvent:
        """Waits for the next event.

        Raises:
            HonedError: The stream broke; watch again to see the present state first.
        """
        try:
            return event_from(next(self._stream))
        except grpc.RpcError as error:
            if self._closed:
                raise StopIteration from None
            call = cast(grpc.Call, error)
            raise error_from_call(call, self._target, self._timeout_s) from error

    def close(self) -> None:
        """Ends the stream; harmless to repeat."""
        self._closed = True
        self._stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
