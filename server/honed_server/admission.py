"""First stop of a prediction: refuse early what cannot be answered, before it costs anything.

Bounds memory by requests and tokens, and refuses work whose deadline the present backlog makes
unreachable (deadline-aware admission; Clockwork, OSDI 2020).
"""

from dataclasses import dataclass

from honed_server.errors import DeadlinePassed, Overloaded


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queue."""

    max_requests: int
    max_tokens: int


class Admission:
    """Counts what is queued or running, and how fast the engine is. Event loop only."""

    # Weight of the newest batch in the running estimate of tokens per second.
    _SMOOTHING = 0.05

    def __init__(self, limits: Limits, workers: int) -> None:
        self._limits = limits
        self._workers = workers
        self.requests = 0
        self.tokens = 0
        self._tokens_per_s: float | None = None

    def admit(self, tokens: int, remaining_s: float) -> None:
        """Counts a request in, or raises.

        Args:
            tokens: Tokens of the request.
            remaining_s: Seconds until its deadline.

        Raises:
            DeadlinePassed: Nothing of the deadline is left.
            Overloaded: The queue is full, or the backlog cannot be worked off before the deadline.
        """
        if remaining_s <= 0:
            raise DeadlinePassed("the deadline had passed on arrival; allow more time")
        wait_s = self.wait_s()
        if self.requests >= self._limits.max_requests:
            raise Overloaded(
                f"{self.requests} requests are queued already; try again after the hinted delay",
                retry_after_s=max(wait_s, 0.05),
            )
        if self.tokens and self.tokens + tokens > self._limits.max_tokens:
            raise Overloaded(
                f"{self.tokens} tokens are queued already; send less or try again",
                reason="QUEUE_TOKENS",
                retry_after_s=max(wait_s, 0.05),
            )
        if wait_s > remaining_s:
            raise Overloaded(
                f"the backlog needs about {wait_s:.2f} s, the deadline leaves {remaining_s:.2f} s",
                reason="DEADLINE_UNMEETABLE",
                retry_after_s=wait_s - remaining_s + 0.05,
            )
        self.requests += 1
        self.tokens += tokens

    def release(self, tokens: int) -> None:
        """Counts a request out again, answered or not."""
        self.requests -= 1
        self.tokens -= tokens

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns the engine's speed from one finished batch."""
        if not tokens or seconds <= 0:
            return
        rate = tokens / seconds * self._workers
        old = self._tokens_per_s
        self._tokens_per_s = rate if old is None else old + self._SMOOTHING * (rate - old)

    def wait_s(self) -> float:
        """Estimated seconds until what is queued has been computed; 0 before the first batch."""
        return self.tokens / self._tokens_per_s if self._tokens_per_s else 0.0
