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
from honed.types import (
    AnchorImport,
    Decision,
    Deletion,
    Export,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Model,
    ModelEvent,
    Prediction,
    Replay,
    Score,
    SpoolFlush,
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
    # feedback
    "FeedbackItem",
    "FeedbackKind",
    "FeedbackAck",
    "FeedbackRecord",
    "Deletion",
    "AnchorImport",
    "SpoolFlush",
    # models
    "Model",
    "Version",
    "Decision",
    "ModelEvent",
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
