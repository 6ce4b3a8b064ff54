"""The client: one method for each thing a caller may ask of a Honed server.

The methods stand in one file for each service (`_inference.py`, `_feedback.py`, `_models.py`), for
this client and for `AsyncClient` (`aio.py`) alike. Their requests are sent by `_connection.py`
(deadlines, retries) and answered with the values of `types.py` (built by `_convert.py`) or an error
of `errors.py` (built by `_status.py`).
"""

import os
from types import TracebackType
from typing import Self

from honed._call import Blocking, open_spool
from honed._connection import Connection
from honed._feedback import FeedbackCalls
from honed._inference import InferenceCalls
from honed._insight import InsightCalls
from honed._models import ModelsCalls
from honed._rounds import RoundCalls

DEFAULT_TARGET = "127.0.0.1:8790"
DEFAULT_TIMEOUT_S = 10.0


class Client(Blocking, InferenceCalls, FeedbackCalls, InsightCalls, ModelsCalls, RoundCalls):
    """A connection to one Honed server; safe to share between threads.

    Every call has a deadline: its own `timeout_s`, else the client's (a watch has none unless
    asked). Predict, Submit and reads that find no server are tried up to three times within it,
    less often while most calls fail. Any method may raise a `HonedError`: the kinds, and what to do
    about each, are in `honed.errors`. Methods documented as returning `Call[T]` return `T` here,
    those returning `Both[S, A]` return `S`.

    With a spool, feedback is not lost while the server is away (`Unavailable`, `DeadlineExceeded`)
    or full (`Overloaded`): it is kept on disk, acknowledged with `spooled=True`, and sent when the
    server is back, once and in order. As long as something waits, later feedback joins it. What
    the server refuses then is written to `rejected.jsonl` in the spool. Linux and macOS only.

    Example:
        >>> with Client() as client:
        ...     answer = client.predict("support", "where is my order?")
        ...     ack = client.submit(answer, label="order_status", wait=True)
        >>> (answer.label, ack.served)
        ('order_status', True)

    Args:
        target: Address of the server, "host:port"; if None the environment's HONED_TARGET, else
            127.0.0.1:8790. Nothing is sent before the first call.
        timeout_s: Deadline of a call that names none, in seconds, > 0.
        spool: Folder that keeps feedback while this server is away, up to 256 MiB; made if
            missing. Several processes may share it. None: such feedback is an error.
        throttle: Whether predictions are held back (`Overloaded`, reason THROTTLED; a stream waits
            instead) while the server refuses more than half of them, so that it can work.

    Raises:
        ValueError: `timeout_s` is not positive.
        OSError: The spool cannot be used.
    """

    def __init__(
        self,
        target: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        spool: str | os.PathLike[str] | None = None,
        throttle: bool = True,
    ) -> None:
        self._connection = Connection(address(target, timeout_s), timeout_s, throttle=throttle)
        self._spool = open_spool(spool, self.target, timeout_s)

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._connection.target

    def close(self) -> None:
        """Closes the connection; calls in progress end with an error."""
        self._connection.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def address(target: str | None, timeout_s: float) -> str:
    """The address that a client is to use; refuses a deadline that never lets a call succeed."""
    if not timeout_s > 0:
        raise ValueError(f"timeout_s must be positive, not {timeout_s}")
    return target or os.environ.get("HONED_TARGET") or DEFAULT_TARGET
