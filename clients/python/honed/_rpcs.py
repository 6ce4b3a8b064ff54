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
        request: Class of the request message, or of each one in a stream.
        response: Class of the response message, or of each one in a stream.
        repeatable: Whether a second attempt is harmless, so that gRPC may retry UNAVAILABLE.
        uploads: Whether the client sends a stream.
        streams: Whether the server answers with a stream.
    """

    service: str
    method: str
    request: type[Request]
    response: type[Response]
    repeatable: bool = False
    uploads: bool = False
    streams: bool = False

    @property
    def path(self) -> str:
        """Path of the call on the wire."""
        return f"/{self.service}/{self.method}"

    @property
    def shape(self) -> str:
        """The channel method that makes this call, for example "unary_stream"."""
        return f"{_ARITY[self.uploads]}_{_ARITY[self.streams]}"


_ARITY = ("unary", "stream")
_INFERENCE, _FEEDBACK, _MODELS = "honed.v1.Inference", "honed.v1.Feedback", "honed.v1.Models"

PREDICT = Rpc(_INFERENCE, "Predict", inference.PredictRequest, inference.PredictResponse, True)
# Repeated by `_stream.py`, which knows what has been answered.
PREDICT_STREAM = Rpc(
    _INFERENCE,
    "PredictStream",
    inference.PredictRequest,
    inference.PredictResponse,
    uploads=True,
    streams=True,
)
REPLAY = Rpc(_INFERENCE, "Replay", inference.ReplayRequest, inference.ReplayResponse, True)
EXPLAIN = Rpc(_INFERENCE, "Explain", inference.ExplainRequest, inference.ExplainResponse, True)

# Every item carries an idempotency key, hence repeatable.
SUBMIT = Rpc(_FEEDBACK, "Submit", feedback.SubmitRequest, feedback.SubmitResponse, True)
LIST_FEEDBACK = Rpc(
    _FEEDBACK, "List", feedback.ListFeedbackRequest, feedback.ListFeedbackResponse, True
)
DELETE_FEEDBACK = Rpc(
    _FEEDBACK, "Delete", feedback.DeleteFeedbackRequest, feedback.DeleteFeedbackResponse
)
LIST_DELETIONS = Rpc(
    _FEEDBACK, "ListDeletions", feedback.ListDeletionsRequest, feedback.ListDeletionsResponse, True
)
REVIEW = Rpc(_FEEDBACK, "Review", feedback.ReviewRequest, feedback.ReviewResponse, True)
SUSPECTS = Rpc(_FEEDBACK, "Suspects", feedback.SuspectsRequest, feedback.SuspectsResponse, True)
IMPORT_ANCHOR = Rpc(
    _FEEDBACK, "ImportAnchor", feedback.ImportAnchorRequest, feedback.ImportAnchorResponse
)

CREATE = Rpc(_MODELS, "Create", models.CreateModelRequest, models.Model)
IMPORT = Rpc(_MODELS, "Import", models.ImportModelRequest, models.Model, uploads=True)
EXPORT = Rpc(
    _MODELS, "Export", models.ExportModelRequest, models.ExportModelResponse, True, streams=True
)
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
START_ROUND = Rpc(_MODELS, "StartRound", models.StartRoundRequest, models.Round)
CANCEL_ROUND = Rpc(_MODELS, "CancelRound", models.CancelRoundRequest, models.Round)
LIST_ROUNDS = Rpc(_MODELS, "ListRounds", models.ListRoundsRequest, models.ListRoundsResponse, True)
SET_POLICY = Rpc(_MODELS, "SetPolicy", models.SetPolicyRequest, models.Model)
WATCH = Rpc(_MODELS, "Watch", models.WatchRequest, models.ModelEvent, True, streams=True)

ALL: tuple[Rpc[Any, Any], ...] = tuple(
    value for value in globals().copy().values() if isinstance(value, Rpc)
)
