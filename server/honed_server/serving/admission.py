"""First stop of a prediction: refuse early what cannot be answered, before it costs anything.

Bounds memory by requests and tokens, and refuses work whose deadline the present backlog makes
unreachable (deadline-aware admission; Clockwork, OSDI 2020). The forecast comes from the measured
costs of the encoder, corrected by what runs and replies take of late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from honed_server.edge.errors import DeadlinePassed, Overloaded
from honed_server.serving.batcher import BatchQueue, Request
from honed_server.serving.cost import CostModel

# Of the time that is left, what is kept for the way back; and how many mean returns more.
_ANSWER_SHARE, _RETURNS = 0.05, 2.0
# A busy event loop may not take more than this of the time, or the engine would stand idle.
_MOST_BACK = 0.5
# Weight of the newest batch in the mean time that an outcome waits for the event loop.
_NEWEST = 0.1
_LEAST_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queue."""

    max_requests: int
    max_tokens: int


class Admission:
    """Counts what is queued or running, and foretells when more would be answered.

    Event loop only.

    Args:
        limits: What the queue may hold.
        queue: Knows what goes before a request, and how fast runs are.
        workers: Number of workers that share the queue.
    """

    def __init__(self, limits: Limits, queue: BatchQueue, workers: int) -> None:
        self._limits = limits
        self._queue = queue
        self._workers = workers
        self._return_s = 0.0
        self.requests = 0
        self.tokens = 0

    def admit(self, request: Request, sizes: Sequence[int], cost: CostModel, now: float) -> None:
        """Counts a request in, or raises as `check` does."""
        self.check(request, sizes, cost, now)
        self.requests += 1
        self.tokens += sum(sizes)

    def check(self, request: Request, sizes: Sequence[int], cost: CostModel, now: float) -> None:
        """Raises if a request cannot be answered; counts nothing, so that it may be asked early.

        Args:
            request: What is asked.
            sizes: Tokens of each of its texts; before tokenising, lower bounds.
            cost: What its encoder's runs cost.
            now: Seconds of the request's clock.

        Raises:
            DeadlinePassed: Nothing of the deadline is left.
            Overloaded: The queue is full, or the backlog cannot be worked off before the deadline.
        """
        tokens, remaining_s = sum(sizes), request.deadline - now
        if remaining_s <= 0:
            raise DeadlinePassed("the deadline had passed on arrival; allow more time")
        ahead_s = self._queue.ahead_s(request.priority, request.tenant, tokens * cost.token_s)
        needs_s = self._needs_s(tokens, max(sizes), cost, ahead_s)
        if self.requests >= self._limits.max_requests:
            raise Overloaded(
                f"{self.requests} requests are queued already; try again after the hinted delay",
                retry_after_s=max(needs_s, _LEAST_RETRY_S),
            )
        if self.tokens and self.tokens + tokens > self._limits.max_tokens:
            raise Overloaded(
                f"{self.tokens} tokens are queued already; send less or try again",
                reason="QUEUE_TOKENS",
                retry_after_s=max(needs_s, _LEAST_RETRY_S),
            )
        back_s = min(_RETURNS * self._return_s, _MOST_BACK * remaining_s)
        usable_s = remaining_s * (1 - _ANSWER_SHARE) - back_s
        # With nothing before it a request is tried: no forecast may keep an idle engine idle.
        if ahead_s and needs_s > usable_s:
            raise Overloaded(
                f"the backlog needs about {needs_s:.2f} s, the deadline leaves {remaining_s:.2f} s",
                reason="DEADLINE_UNMEETABLE",
                retry_after_s=needs_s - usable_s + _LEAST_RETRY_S,
            )

    def release(self, sizes: Sequence[int]) -> None:
        """Counts a request out again, answered or not."""
        self.requests -= 1
        self.tokens -= sum(sizes)

    def observe(self, return_s: float) -> None:
        """Learns how long the outcomes of a batch waited for the event loop."""
        self._return_s += _NEWEST * (return_s - self._return_s)

    def _needs_s(self, tokens: int, longest: int, cost: CostModel, ahead_s: float) -> float:
        """Seconds until the last row is computed: all workers share the work, one has its batch."""
        full_s = cost.seconds(cost.budget_tokens, 1)
        run_s = max(cost.seconds(longest, 1), min(full_s, ahead_s + cost.seconds(tokens, 1)))
        work_s = ahead_s + tokens * cost.token_s
        pace = self._queue.pace.cautious
        return pace * (run_s + max(work_s - run_s, 0.0) / self._workers)
