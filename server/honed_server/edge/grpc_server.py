"""The gRPC server: which method is answered by whom, with which limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2
from honed_server.edge.rpc import Edge
from honed_server.feedback.service import FeedbackService
from honed_server.insight.explain import Explanations
from honed_server.insight.review import Reviews
from honed_server.insight.suspects import Suspicions
from honed_server.models.export import Exports
from honed_server.models.replay import Replays
from honed_server.models.service import ModelsService
from honed_server.serving.service import InferenceService

# 256 texts of 64 KiB and their framing: larger messages are refused before they are read.
_MAX_MESSAGE_BYTES = 17 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Services:
    """Who answers."""

    inference: InferenceService
    feedback: FeedbackService
    models: ModelsService
    replays: Replays
    exports: Exports
    explanations: Explanations
    reviews: Reviews
    suspicions: Suspicions
    health: Any
    edge: Edge


def make_grpc_server(services: Services, host: str, port: int) -> tuple[grpc.aio.Server, int]:
    """A server bound to host and port, not started yet, and the port it got.

    Raises:
        OSError: The port is taken.
    """
    server = grpc.aio.server(
        options=[
            # Two servers that silently share a port would answer from two models.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.server_handshake_timeout_ms", 10_000),
        ]
    )
    for service, handlers in _handlers(services).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(services.health, server)
    names = [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
    reflection.enable_server_reflection([*_handlers(services), *names], server)
    try:
        return server, server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(
            f"gRPC cannot listen on {host}:{port}: is another server there? choose --port"
        ) from error


def _handlers(services: Services) -> dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]]:
    edge, inference = services.edge, services.inference
    feedback = services.feedback
    f = feedback_pb2
    i = inference_pb2
    return {
        "honed.v1.Inference": {
            "Predict": edge.unary("Predict", i.PredictRequest, inference.predict),
            "PredictStream": edge.bidirectional(
                "PredictStream", i.PredictRequest, inference.predict_stream
            ),
            "Replay": edge.unary("Replay", i.ReplayRequest, services.replays.replay),
            "Explain": edge.unary("Explain", i.ExplainRequest, services.explanations.explain),
        },
        "honed.v1.Feedback": {
            "Submit": edge.unary("Submit", f.SubmitRequest, feedback.submit),
            "List": edge.unary("ListFeedback", f.ListFeedbackRequest, feedback.list),
            "Delete": edge.unary("DeleteFeedback", f.DeleteFeedbackRequest, feedback.delete),
            "ListDeletions": edge.unary(
                "ListDeletions", f.ListDeletionsRequest, feedback.list_deletions
            ),
            "Review": edge.unary("Review", f.ReviewRequest, services.reviews.review),
            "Suspects": edge.unary("Suspects", f.SuspectsRequest, services.suspicions.suspects),
            "ImportAnchor": edge.unary(
                "ImportAnchor", f.ImportAnchorRequest, feedback.import_anchor
            ),
        },
        "honed.v1.Models": _models(services),
    }


def _models(services: Services) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    edge, models = services.edge, services.models
    m = models_pb2
    return {
        "Create": edge.unary("CreateModel", m.CreateModelRequest, models.create),
        "Import": edge.client_stream("ImportModel", m.ImportModelRequest, models.import_model),
        "Export": edge.server_stream("ExportModel", m.ExportModelRequest, services.exports.export),
        "Get": edge.unary("GetModel", m.GetModelRequest, models.get),
        "List": edge.unary("ListModels", m.ListModelsRequest, models.list),
        "Delete": edge.unary("DeleteModel", m.DeleteModelRequest, models.delete),
        "ListVersions": edge.unary("ListVersions", m.ListVersionsRequest, models.list_versions),
        "Promote": edge.unary("Promote", m.PromoteRequest, models.promote),
        "StartRound": edge.unary("StartRound", m.StartRoundRequest, models.start_round),
        "CancelRound": edge.unary("CancelRound", m.CancelRoundRequest, models.cancel_round),
        "ListRounds": edge.unary("ListRounds", m.ListRoundsRequest, models.list_rounds),
        "SetPolicy": edge.unary("SetPolicy", m.SetPolicyRequest, models.set_policy),
        "Rollback": edge.unary("Rollback", m.RollbackRequest, models.rollback),
        "PauseAdaptation": edge.unary("PauseAdaptation", m.PauseAdaptationRequest, models.pause),
        "ResumeAdaptation": edge.unary(
            "ResumeAdaptation", m.ResumeAdaptationRequest, models.resume
        ),
        "Watch": edge.server_stream("Watch", m.WatchRequest, models.watch),
    }
