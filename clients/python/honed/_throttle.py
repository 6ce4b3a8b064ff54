"""What a client does not even send while the server refuses much of what it sends.

A refusal costs a server about as much as a small answer, so that under many times the load it can
bear it does little but refuse. Only its clients can mend that: each drops, on its own, what would
most likely be refused ("Handling Overload" in Beyer et al., Site Reliability Engineering, 2016).
"""

import random
import threading
from collections.abc import Callable
from math import exp, inf
from time import monotonic

from honed._status import error_from_status
from honed.errors import DeadlineExceeded, HonedError, Overloaded
from honed_proto.v1.inference_pb2 import PredictRequest, PredictResponse

# How far requests may outnumber the accepted ones: the server sees twice what it accepts, enough to
# show at once that it accepts more again.
RATIO = 2.0
# What happened counts for 1/e after so long. From ten times the load a client is back in 1.6 of it.
WINDOW_S = 1.0
# At least so much counts as accepted: RATIO requests a window are never held back.
LEAST_ACCEPTED = 1.0
# How long a message of a stream is held back. It is never refused: the window holds its texts back.
HOLD_S = 0.1
_MOST_KINDS = 1000

# The last is of a proxy. Not of load, for example: DISK_FULL.
_REASONS = ("QUEUE_FULL", "QUEUE_TOKENS", "DEADLINE_UNMEETABLE", "RESOURCE_EXHAUSTED")


class Throttle:
    """Refuses with the probability (requests - RATIO * accepted) / (requests + 1), if positive.

    Requests are those of which the outcome is known, so that slow answers look like no refusals,
    and those refused here. Safe between threads.

    Args:
        ratio: RATIO; if infinite, nothing is ever refused.
        clock: Tells the time, in seconds.
        draw: Draws a number from 0 to 1.
    """

    def __init__(
        self,
        ratio: float = RATIO,
        clock: Callable[[], float] = monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._ratio = ratio
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._at = clock()
        self._requests = self._accepted = 0.0

    def admits(self) -> bool:
        """Whether the next request is to be sent; if so, `note` must be told its outcome."""
        with self._lock:
            self._fade()
            excess = self._requests - self._ratio * max(self._accepted, LEAST_ACCEPTED)
            if self._draw() >= excess / (self._requests + 1):
                return True
            self._requests += 1
            return False

    def note(self, accepted: bool) -> None:
        """Counts a request that was sent: whether the server took it on."""
        with self._lock:
            self._fade()
            self._requests += 1
            self._accepted += accepted

    def _fade(self) -> None:
        now = self._clock()
        kept = exp((self._at - now) / WINDOW_S)
        self._at, self._requests, self._accepted = now, self._requests * kept, self._accepted * kept


class Throttles:
    """A client's throttles, one for each priority and tenant: the server refuses each differently.

    Args:
        on: Whether they ever refuse.
    """

    def __init__(self, on: bool) -> None:
        self._ratio = RATIO if on else inf
        self._lock = threading.Lock()
        self._kinds: dict[tuple[int, str], Throttle] = {}  # the least recently used first

    def of(self, request: PredictRequest) -> Throttle:
        """The throttle that requests like this one share."""
        kind = request.priority, request.tenant
        with self._lock:
            throttle = self._kinds.pop(kind, None) or Throttle(self._ratio)
            self._kinds[kind] = throttle
            if len(self._kinds) > _MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
        return throttle


def throttled(target: str) -> Overloaded:
    """The error of a call that was not sent."""
    return Overloaded(
        f"nothing was sent: {target} has refused, or not answered in time, most of what this "
        f"client asked in the last seconds; wait {WINDOW_S:g} s or longer, then send less",
        "THROTTLED",
        "RESOURCE_EXHAUSTED",
        retry_after_s=WINDOW_S,
    )


def was_accepted(outcome: PredictResponse | HonedError) -> bool:
    """Whether the server took a request on: all but overload, which fails every text of it."""
    if isinstance(outcome, HonedError):
        late = isinstance(outcome, DeadlineExceeded)
        return not (late or (isinstance(outcome, Overloaded) and outcome.reason in _REASONS))
    if outcome.HasField("error"):
        return was_accepted(error_from_status(outcome.error))
    return not outcome.items or any(
        item.HasField("prediction") or was_accepted(error_from_status(item.error))
        for item in outcome.items
    )
