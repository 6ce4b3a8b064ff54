"""The client: one method for each thing a caller may ask of a Honed server.

The methods stand in one file for each service (`_inference.py`, `_feedback.py`, `_models.py`).
Their requests are sent by `_connection.py` (deadlines, retries) and answered with the values of
`types.py` (built by `_convert.py`) or an error of `errors.py` (built by `_status.py`).
"""

import os
from types import TracebackType
from typing import Self

from honed._connection import Connection
from honed._feedback import FeedbackCalls
from honed._inference import InferenceCalls
from honed._models import ModelsCalls

DEFAULT_TARGET = "127.0.0.1:8790"
DEFAULT_TIMEOUT_S = 10.0


class Client(InferenceCalls, FeedbackCalls, ModelsCalls):
    """A connection to one Honed server; safe to share between threads.

    Every call has a deadline: its own `timeout_s`, else the client's (a watch has none unless
    asked). Predict, Submit and reads that find no server are tried up to three times within it.
    Any method may raise a `HonedError`: the kinds, and what to do about each, are in
    `honed.errors`.

    Example:
        with Client() as client:
            answer = client.predict("support", "where is my parcel?")
            client.submit(answer, label="track_order", wait=True)

    Args:
        target: Address of the server, "host:port"; if None the environment's HONED_TARGET, else
            127.0.0.1:8790. Nothing is sent before the first call.
        timeout_s: Deadline of a call that names none, in seconds, > 0.

    Raises:
        ValueError: `timeout_s` is not positive.
    """

    def __init__(self, target: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, not {timeout_s}")
        target = target or os.environ.get("HONED_TARGET") or DEFAULT_TARGET
        self._connection = Connection(target, timeout_s)

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._connection.target

    def close(self) -> None:
        """Closes the connection; calls in progress end with an error."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
