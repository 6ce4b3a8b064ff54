"""Python SDK of Honed: `Client` and `AsyncClient`, their answers and their errors.

Importing it loads grpcio and protobuf only. The `honed` command lives in `honed.cli`.
"""

from importlib.metadata import version

from honed.aio import AsyncClient
from honed.client import Client
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
from honed.review_types import Explanation, Review, Suspects
from honed.types import (
    AnchorImport,
    Decision,
    Deletion,
    DeletionRecord,
    Export,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Model,
    ModelEvent,
    Policy,
    Prediction,
    Replay,
    Score,
    SpoolFlush,
    Trial,
    Version,
)

__version__ = version("honed")

__all__ = [  # noqa: RUF022  (grouped by use)
    "Client",
    "AsyncClient",
    # answers
    "Prediction",
    "Score",
    "Replay",
    "Explanation",
    # feedback
    "FeedbackItem",
    "FeedbackKind",
    "FeedbackAck",
    "FeedbackRecord",
    "Deletion",
    "DeletionRecord",
    "AnchorImport",
    "SpoolFlush",
    "Review",
    "Suspects",
    # models
    "Model",
    "Version",
    "Decision",
    "ModelEvent",
    "Policy",
    "Trial",
    "Export",
    # errors
    "HonedError",
    "InvalidRequest",
    "NotFound",
    "Conflict",
    "Overloaded",
    "DeadlineExceeded",
    "Unavailable",
    "ServerError",
    "ServerTooOld",
    "__version__",
]
