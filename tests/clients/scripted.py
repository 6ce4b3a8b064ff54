"""A real gRPC server that speaks `honed.v1` and answers as a test has written down."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2

from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in (inference_pb2, feedback_pb2, models_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True)
class Fault:
    """An answer that ends the call with this status; `bare` sends it without details."""

    status: status_pb2.Status
    bare: bool = False


@dataclass(frozen=True)
class Received:
    """A call that arrived; `request` is a list where the client sends a stream."""

    method: str
    request: Any
    time_left_s: float | None


# A function is given the request, or an iterator of requests for a stream in both directions; then
# it yields.
Answer: TypeAlias = Message | Fault | Sequence[Message | Fault] | Callable[[Any], Any]


def status(code: str, message: str, reason: str = "", *details: Message) -> status_pb2.Status:
    """A status as a Honed server sends it."""
    packed = []
    if reason:
        details = (error_details_pb2.ErrorInfo(reason=reason, domain="honed"), *details)
    for detail in details:
        packed.append(Packed())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)


class ScriptedServer:
    """Answers each method with what `on` said, in turn; the last answer is repeated."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self.released = threading.Event()
        self.refuse_uploads = False  # whether an upload is answered after its first message
        self._answers: dict[str, list[Answer]] = {}
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers(tuple(map(self._handler, SERVICES)))
        self.target = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def on(self, method: str, *answers: Answer) -> None:
        """Says what "Service.Method" answers: a message, messages of a stream, or a fault."""
        self._answers[method] = list(answers)

    def requests(self, method: str) -> list[Any]:
        """The requests that "Service.Method" has received."""
        return [call.request for call in self.received if call.method == method]

    def stall(self, request: object) -> Message:
        """An answer that does not come before the server stops."""
        self.released.wait()
        raise RuntimeError("released")

    def stop(self) -> None:
        self.released.set()
        self._server.stop(None).wait()

    def _handler(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        methods = {each.name: self._method(each) for each in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _method(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        name = f"{method.containing_service.name}.{method.name}"
        arity = ("unary", "stream")
        shape = f"{arity[method.client_streaming]}_{arity[method.server_streaming]}"
        make = getattr(grpc, f"{shape}_rpc_method_handler")

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if method.client_streaming and not method.server_streaming:
                request = list(islice(request, 1 if self.refuse_uploads else None))
            return self._answer(name, request, context)

        handler: grpc.RpcMethodHandler[Any, Any] = make(
            answer,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
        return handler

    def _answer(self, name: str, request: Message, context: grpc.ServicerContext) -> Any:
        self.received.append(Received(name, request, context.time_remaining()))
        answers = self._answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Sequence):
            return self._stream(answer, context)
        said = answer(request) if callable(answer) else answer
        if isinstance(said, Fault):
            _end(context, said)
        return _until_fault(said, context) if isinstance(said, Iterator) else said

    def _stream(
        self, answers: Iterable[Message | Fault], context: grpc.ServicerContext
    ) -> Iterator[Message]:
        """Sends the messages, then keeps the stream open until the client or the test ends it."""
        yield from _until_fault(answers, context)
        context.add_callback(self.released.set)
        self.released.wait()


def _until_fault(
    answers: Iterable[Message | Fault], context: grpc.ServicerContext
) -> Iterator[Message]:
    for answer in answers:
        if isinstance(answer, Fault):
            _end(context, answer)
        else:
            yield answer


def _end(context: grpc.ServicerContext, fault: Fault) -> None:
    if not fault.bare:
        details = ("grpc-status-details-bin", fault.status.SerializeToString())
        context.set_trailing_metadata((details,))
    code = getattr(grpc.StatusCode, code_pb2.Code.Name(fault.status.code))
    context.abort(code, fault.status.message)
