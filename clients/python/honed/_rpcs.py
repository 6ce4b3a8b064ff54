"""The calls of `honed.v1` that the SDK makes: paths, messages, and which may be repeated.

There is no generated stub code: this table, checked against the service descriptors by a test, is
all that a channel needs.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from honed_proto.v1 import feedback_pb2 as feedback
from honed_proto.v1 import inference_pb2 as inference
from honed_proto.v1 import models_pb2 as models

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request, Response]):
    """One call.

    Attributes:
        service: Full service name.
        method: Method name.
        request: Class of the request message.
        response: Class of the response message, or of each one in a stream.
        repeatable: Whether a second attempt is harmless, so that UNAVAILABLE may be retried.
        streams: Whether the server answers with a stream.
    """

    service: str
    method: str
    request: type[Request]
    response: type[Response]
    repeatable: bool = False
    streams: bool = False

    @property
    def path(self) -> str:
        """Path of the call on the wire."""
        return f"/{self.service}/{self.method}"


_INFERENCE, _FEEDBACK, _MODELS = "honed.v1.Inference", "honed.v1.Feedback", "honed.v1.Models"

PREDICT = Rpc(_INFERENCE, "Predict", inference.PredictRequest, inference.PredictResponse, True)

# Every item carries an idempotency key, hence repeatable.
SUBMIT = Rpc(_FEEDBACK, "Submit", feedback.SubmitRequest, feedback.SubmitResponse, True)
LIST_FEEDBACK = Rpc(
    _FEEDBACK, "List", feedback.ListFeedbackRequest, feedback.ListFeedbackResponse, True
)
DELETE_FEEDBACK = Rpc(
    _FEEDBACK, "Delete", feedback.DeleteFeedbackRequest, feedback.DeleteFeedbackResponse
)
IMPORT_ANCHOR = Rpc(
    _FEEDBACK, "ImportAnchor", feedback.ImportAnchorRequest, feedback.ImportAnchorResponse
)

CREATE = Rpc(_MODELS, "Create", models.CreateModelRequest, models.Model)
GET = Rpc(_MODELS, "Get", models.GetModelRequest, models.Model, True)
LIST_MODELS = Rpc(_MODELS, "List", models.ListModelsRequest, models.ListModelsResponse, True)
DELETE_MODEL = Rpc(_MODELS, "Delete", models.DeleteModelRequest, models.DeleteModelResponse)
LIST_VERSIONS = Rpc(
    _MODELS, "ListVersions", models.ListVersionsRequest, models.ListVersionsResponse, True
)
PROMOTE = Rpc(_MODELS, "Promote", models.PromoteRequest, models.Model)
ROLLBACK = Rpc(_MODELS, "Rollback", models.RollbackRequest, models.Model)
PAUSE = Rpc(_MODELS, "PauseAdaptation", models.PauseAdaptationRequest, models.Model)
RESUME = Rpc(_MODELS, "ResumeAdaptation", models.ResumeAdaptationRequest, models.Model)
WATCH = Rpc(_MODELS, "Watch", models.WatchRequest, models.ModelEvent, True, streams=True)

ALL: tuple[Rpc[Any, Any], ...] = (
    PREDICT,
    SUBMIT,
    LIST_FEEDBACK,
    DELETE_FEEDBACK,
    IMPORT_ANCHOR,
    CREATE,
    GET,
    LIST_MODELS,
    DELETE_MODEL,
    LIST_VERSIONS,
    PROMOTE,
    ROLLBACK,
    PAUSE,
    RESUME,
    WATCH,
)
