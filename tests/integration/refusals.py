"""Sends what the SDK would not, and says which refusal is expected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from honed import HonedError
from honed._status import error_from_call, error_from_status
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

SERVICES = [
    service
    for file in (inference_pb2, feedback_pb2, models_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
METHODS = {f"/{s.full_name}/{method.name}": method for s in SERVICES for method in s.methods}


class Wire:
    """Sends what the SDK would not: any bytes to any method."""

    def __init__(self, target: str, model: str) -> None:
        self.model = model
        self._target = target
        self._channel = grpc.insecure_channel(target)

    def call(self, path: str, payload: bytes) -> bytes:
        """The first response; raises HonedError as the SDK would."""
        method = METHODS.get(path)
        try:
            if method is not None and method.client_streaming:
                return next(self._channel.stream_stream(path)(iter([payload]), timeout=10))
            if method is not None and method.server_streaming:
                return next(self._channel.unary_stream(path)(payload, timeout=10))
            return self._channel.unary_unary(path)(payload, timeout=10)
        except grpc.RpcError as error:
            raise error_from_call(error, self._target, 10) from error

    def predict(self, **fields: Any) -> inference_pb2.PredictResponse:
        request = inference_pb2.PredictRequest(
            **{"model": self.model, "texts": ["hello"], **fields}
        )
        answer = self.call("/honed.v1.Inference/Predict", request.SerializeToString())
        return inference_pb2.PredictResponse.FromString(answer)

    def submit(self, *items: dict[str, Any], model: str = "") -> list[feedback_pb2.SubmitResult]:
        request = feedback_pb2.SubmitRequest(
            model=model or self.model, items=[label(**item) for item in items]
        )
        answer = self.call("/honed.v1.Feedback/Submit", request.SerializeToString())
        return list(feedback_pb2.SubmitResponse.FromString(answer).results)

    def refused(self, item: dict[str, Any], model: str = "") -> HonedError:
        (result,) = self.submit(item, model=model)
        assert result.WhichOneof("result") == "error", result
        return error_from_status(result.error)

    def close(self) -> None:
        self._channel.close()


def label(**fields: Any) -> feedback_pb2.FeedbackItem:
    """A label that is right but for these fields."""
    good = {"idempotency_key": "never", "text": "my card is lost", "label": "card", "kind": 3}
    return feedback_pb2.FeedbackItem(**{**good, **fields})


@dataclass(frozen=True)
class Expected:
    status: str
    reason: str
    field: str | None
    says: str

    def check(self, error: HonedError) -> None:
        found = (error.status, error.reason, next(iter(error.violations), None))
        assert found == (self.status, self.reason, self.field), error.message
        assert self.says in error.message
        assert len(error.message) < 1200


def raised(call: Callable[[], Any]) -> HonedError:
    with pytest.raises(HonedError) as caught:
        call()
    return caught.value
