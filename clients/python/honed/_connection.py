"""One channel to one server, of either kind: deadlines, throttling, errors of the SDK's family."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar, cast

import grpc

from honed._channel import callables, channel_options
from honed._retry import RetryBudget
from honed._rpcs import PREDICT, Request, Response, Rpc
from honed._status import error_from_call
from honed._throttle import Throttles, throttled, was_accepted
from honed.errors import HonedError, Unavailable
from honed_proto.v1.inference_pb2 import PredictResponse

Outcome = TypeVar("Outcome")


class _Address:
    """What both kinds know.

    Args:
        target: Address of the server, "host:port".
        timeout_s: Deadline of a call that names none, in seconds.
        throttle: Whether predictions are held back while the server refuses many.
    """

    def __init__(self, target: str, timeout_s: float, *, throttle: bool = False) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self.budget = RetryBudget()
        self.throttles = Throttles(throttle)

    def admit(self, rpc: Rpc[Any, Any], request: Any) -> Callable[[Outcome], Outcome]:
        """Lets a call pass; what it returns notes the outcome, an answer or a `HonedError`.

        Raises:
            Overloaded: The call is better not made.
        """
        if rpc is not PREDICT:
            return lambda outcome: outcome
        throttle = self.throttles.of(request)
        if not throttle.admits():
            raise throttled(self.target)

        def noted(outcome: Outcome) -> Outcome:
            throttle.note(was_accepted(cast("PredictResponse | HonedError", outcome)))
            return outcome

        return noted

    def error(
        self, error: grpc.RpcError, rpc: Rpc[Any, Any], timeout_s: float | None
    ) -> HonedError:
        """What a failed call of gRPC means."""
        call = cast(grpc.Call, error)
        return error_from_call(call, self.target, timeout_s, f"{rpc.service}.{rpc.method}")


class Connection(_Address):
    """Makes calls over one channel; safe to share between threads."""

    def __init__(self, target: str, timeout_s: float, *, throttle: bool = False) -> None:
        super().__init__(target, timeout_s, throttle=throttle)
        self._channel = grpc.insecure_channel(target, options=channel_options())
        self._callables: dict[str, Any] = callables(self._channel)

    def call(
        self, rpc: Rpc[Request, Response], request: Any, timeout_s: float | None = None
    ) -> Response:
        """Makes one call and waits for its answer.

        Args:
            rpc: The call.
            request: Its message, or an iterator of messages for a call that uploads.
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            HonedError: The call failed; see `honed.errors`.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        noted = self.admit(rpc, request)
        try:
            return noted(cast(Response, self.stream(rpc, request, timeout_s)))
        except grpc.RpcError as error:
            raise noted(self.error(error, rpc, timeout_s)) from error

    def start(self, rpc: Rpc[Any, Any], request: Any, done: Callable[[Any], None]) -> None:
        """Makes one call without waiting; `done` gets the response, or a HonedError.

        It is called on a thread of gRPC, or at once if the client is closed or throttled.
        """
        try:
            noted = self.admit(rpc, request)
            future = self._callables[rpc.path].future(request, timeout=self.timeout_s)
        except HonedError as error:
            done(error)
        except ValueError:
            done(closed())
        else:
            future.add_done_callback(lambda future: done(noted(self._outcome(rpc, future))))

    def _outcome(self, rpc: Rpc[Any, Any], future: Any) -> Any:
        try:
            return future.result()
        except grpc.FutureCancelledError:
            return closed()
        except grpc.RpcError as error:
            return self.error(error, rpc, self.timeout_s)

    def stream(self, rpc: Rpc[Any, Any], request: Any, timeout_s: float | None) -> Any:
        """Makes a call of any shape: the response, or gRPC's call if responses are a stream.

        Without a deadline if `timeout_s` is None.
        """
        try:
            return self._callables[rpc.path](request, timeout=timeout_s)
        except ValueError:  # gRPC's word for a closed channel
            raise closed() from None

    def responses(
        self, rpc: Rpc[Any, Response], request: Any, timeout_s: float
    ) -> Iterator[Response]:
        """The responses of a stream, which ends with the iteration; raises `HonedError`."""
        stream = self.stream(rpc, request, timeout_s)
        try:
            yield from stream
        except grpc.RpcError as error:
            raise self.error(error, rpc, timeout_s) from error
        finally:
            stream.cancel()

    def close(self) -> None:
        """Closes the channel; calls in progress end with an error."""
        self._channel.close()


class AsyncConnection(_Address):
    """Makes calls over one channel, which opens at the first call and stays on its event loop."""

    def __init__(self, target: str, timeout_s: float, *, throttle: bool = False) -> None:
        super().__init__(target, timeout_s, throttle=throttle)
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[str, Any] = {}

    async def call(
        self, rpc: Rpc[Request, Response], request: Any, timeout_s: float | None = None
    ) -> Response:
        """Makes one call; arguments and errors are those of `Connection.call`."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        noted = self.admit(rpc, request)
        try:
            return noted(cast(Response, await self.stream(rpc, request, timeout_s)))
        except grpc.aio.AioRpcError as error:
            raise noted(self.error(error, rpc, timeout_s)) from error
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise closed() from None

    def stream(self, rpc: Rpc[Any, Any], request: Any, timeout_s: float | None) -> Any:
        """Opens a call of any shape: gRPC's call, without a deadline if `timeout_s` is None."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=channel_options())
            self._callables = callables(self._channel)
        try:
            return self._callables[rpc.path](request, timeout=timeout_s)
        except grpc.aio.UsageError:  # gRPC's word for a closed channel
            raise closed() from None

    async def responses(
        self, rpc: Rpc[Any, Response], request: Any, timeout_s: float
    ) -> AsyncIterator[Response]:
        """The responses of a stream, which ends with the iteration; raises `HonedError`."""
        stream = self.stream(rpc, request, timeout_s)
        try:
            async for response in stream:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self.error(error, rpc, timeout_s) from error
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise closed() from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Closes the channel; calls in progress end with an error."""
        if self._channel is not None:
            await self._channel.close()


def is_cancelled() -> bool:
    """Whether somebody cancels the present task; gRPC says so too when its channel is closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def closed() -> HonedError:
    """The error of a call that the caller's own `close` ended."""
    return Unavailable("the client is closed; open another one", "CLIENT_CLOSED", "CANCELLED")
