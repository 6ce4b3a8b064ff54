"""Python SDK of Honed: `Client`, the values it returns and the errors it raises.

Importing it loads grpcio and protobuf only. The `honed` command lives in `honed.cli`.
"""

from importlib.metadata import version

from honed.client import Client
from honed.errors import (
    Conflict,
    DeadlineExceeded,
    HonedError,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServerError,
    Unavailable,
)
from honed.types import (
    Decision,
    Deletion,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    FeedbackRecord,
    Model,
    ModelEvent,
    Prediction,
    Score,
    Version,
)

__version__ = version("honed")

__all__ = [  # noqa: RUF022  (grouped by use)
    "Client",
    # answers
    "Prediction",
    "Score",
    # feedback
    "FeedbackItem",
    "FeedbackKind",
    "FeedbackAck",
    "FeedbackRecord",
    "Deletion",
    # models
    "Model",
    "Version",
    "Decision",
    "ModelEvent",
    # errors
    "HonedError",
    "InvalidRequest",
    "NotFound",
    "Conflict",
    "Overloaded",
    "DeadlineExceeded",
    "Unavailable",
    "ServerError",
    "__version__",
]
