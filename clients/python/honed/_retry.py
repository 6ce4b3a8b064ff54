"""How often, and how soon, something that failed may be tried again.

Calls are repeated by gRPC itself after these numbers (`_channel.py`); broken streams (`_stream.py`)
and the spool (`_spool.py`) are repeated by the SDK.
"""

import math
import random
import threading

from honed.errors import DeadlineExceeded, Overloaded, Unavailable

# What passes by itself: the server may take the very same request later.
TRANSIENT = (Unavailable, DeadlineExceeded, Overloaded)

ATTEMPTS = 3
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 1.0
BACKOFF_FACTOR = 3
# Each failure takes a token, each success gives a tenth back, and nothing is repeated while half of
# them or more are gone: a server that fails for everybody is not asked three times by everybody.
BUDGET_TOKENS = 20
TOKENS_PER_SUCCESS = 0.1


class RetryBudget:
    """A token bucket, by the rules of gRPC's `retryThrottling` (gRFC A6). Safe between threads."""

    def __init__(self) -> None:
        self._tokens = float(BUDGET_TOKENS)
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Counts a failure; returns whether it may be repeated."""
        with self._lock:
            self._tokens = max(self._tokens - 1, 0)
            return self._tokens > BUDGET_TOKENS / 2

    def refund(self) -> None:
        """Counts a success."""
        with self._lock:
            self._tokens = min(self._tokens + TOKENS_PER_SUCCESS, BUDGET_TOKENS)


def backoff_s(failures: int, longest_s: float = MAX_BACKOFF_S) -> float:
    """Seconds to wait after so many failures in a row: exponential, with jitter of a half."""
    factor = math.pow(BACKOFF_FACTOR, min(failures - 1, 20))
    return min(FIRST_BACKOFF_S * factor, longest_s) * random.uniform(0.5, 1)
