"""Second stop of a prediction: texts wait here until a worker is free, and are grouped by tokens.

`form_batch` is the whole decision and is pure. The queue around it waits for the engine, never for
a clock: a worker that becomes free takes what is there (as Triton's batcher with delay 0 and
text-embeddings-inference do).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from honed_server.errors import ServingError
from honed_server.generations import Generation, Table


@dataclass(slots=True, eq=False)
class Request:
    """One admitted Predict call: options, deadline, and a slot for each of its rows.

    Times are seconds of `time.monotonic`. Only the event loop touches it after admission, but for
    `abandoned`, which workers read.
    """

    model: str
    top_k: int
    include_logits: bool
    include_embedding: bool
    admitted: float
    deadline: float
    finish: Callable[[list["Outcome"]], None]
    outcomes: list["Outcome | None"] = field(default_factory=list)
    pending: int = 0
    abandoned: bool = False

    def settle(self, index: int, outcome: "Outcome") -> None:
        """Stores the outcome of one row; calls `finish` with all of them after the last."""
        if self.outcomes[index] is None:
            self.outcomes[index] = outcome
            self.pending -= 1
        if self.pending == 0 and not self.abandoned:
            self.finish([o for o in self.outcomes if o is not None])


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One tokenised text of a request."""

    request: Request
    index: int
    text: str
    ids: NDArray[np.int64]
    truncated: bool
    tokenizer_digest: str


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the engine found for one row; `probabilities` are best first."""

    generation: Generation
    labels: Sequence[str]
    probabilities: Sequence[float]
    logits: NDArray[np.float32] | None
    embedding: NDArray[np.float32] | None
    row: Row
    started: float
    compute_s: float


Outcome = Answer | ServingError


@dataclass(frozen=True, slots=True)
class Plan:
    """What `form_batch` decided about the rows it looked at, in queue order."""

    take: list[Row]
    expired: list[Row]
    unknown: list[Row]
    keep: list[Row]
    tokens: int
    reason: str


def form_batch(waiting: Iterable[Row], table: Table, now: float, max_tokens: int) -> Plan:
    """Chooses the next batch, oldest first, without looking further than it must.

    The oldest live row fixes the encoder; rows of other encoders keep their place. Rows whose
    caller has left are dropped, rows past their deadline and rows of vanished models are named.

    Args:
        waiting: Rows in order of arrival.
        table: Generations that will answer this batch.
        now: Monotonic seconds.
        max_tokens: Token budget; a single row may exceed it.
    """
    take: list[Row] = []
    expired: list[Row] = []
    unknown: list[Row] = []
    keep: list[Row] = []
    encoder: str | None = None
    tokens = 0
    for row in waiting:
        request = row.request
        if request.abandoned:
            continue
        if request.deadline <= now:
            expired.append(row)
            continue
        generation = table.get(request.model)
        if generation is None:
            unknown.append(row)
            continue
        digest = generation.loaded.encoder.digest
        if encoder not in (None, digest):
            keep.append(row)
            continue
        if take and tokens + row.ids.size > max_tokens:
            keep.append(row)
            return Plan(take, expired, unknown, keep, tokens, "token_budget")
        encoder = digest
        take.append(row)
        tokens += row.ids.size
    return Plan(take, expired, unknown, keep, tokens, "queue_empty")


@dataclass(frozen=True, slots=True)
class Batch:
    """Work for one worker: rows of one encoder and the table that answers them."""

    rows: list[Row]
    expired: list[Row]
    unknown: list[Row]
    table: Table
    tokens: int
    reason: str
    lone: bool


class BatchQueue:
    """Rows waiting for the engine. The event loop appends, workers take; one lock.

    Args:
        table: Reads the current generation table.
        workers: Number of workers that share the queue.
        max_batch_tokens: Most tokens in a batch.
        min_batch_tokens: Below this a batch is not split between workers.
    """

    def __init__(
        self,
        table: Callable[[], Table],
        *,
        workers: int,
        max_batch_tokens: int,
        min_batch_tokens: int,
    ) -> None:
        self._table = table
        self._workers = workers
        self._max_tokens = max_batch_tokens
        self._min_tokens = min_batch_tokens
        self._waiting: deque[Row] = deque()
        self._changed = threading.Condition()
        self._busy = 0
        self._closed = False
        self.tokens = 0

    def append(self, rows: Sequence[Row]) -> None:
        """Adds the rows of one request and wakes as many workers as can be useful."""
        with self._changed:
            self._waiting.extend(rows)
            self.tokens += sum(row.ids.size for row in rows)
            self._changed.notify(len(rows))

    def take(self) -> Batch | None:
        """Waits for work; None when the queue was closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return None if self._closed else self._next()

    def done(self) -> None:
        """Says that the worker has finished the batch it took."""
        with self._changed:
            self._busy -= 1

    def close(self) -> list[Row]:
        """Wakes all workers for good and returns the rows that nobody took."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            return left

    def _next(self) -> Batch:
        # Two workers on what one worker would take finish sooner, down to a useful batch size.
        share = max(self._min_tokens, -(-self.tokens // self._workers))
        table = self._table()
        looked_at = _Consumed(self._waiting)
        plan = form_batch(looked_at, table, monotonic(), min(self._max_tokens, share))
        self.tokens -= looked_at.tokens - sum(row.ids.size for row in plan.keep)
        self._waiting.extendleft(reversed(plan.keep))
        lone = len(plan.take) == 1 and self._busy == 0 and not self._waiting
        self._busy += 1
        return Batch(plan.take, plan.expired, plan.unknown, table, plan.tokens, plan.reason, lone)


class _Consumed:
    """Pops rows from the left as they are looked at, counting their tokens."""

    def __init__(self, waiting: deque[Row]) -> None:
        self._waiting = waiting
        self.tokens = 0

    def __iter__(self) -> "_Consumed":
        return self

    def __next__(self) -> Row:
        if not self._waiting:
            raise StopIteration
        row = self._waiting.popleft()
        self.tokens += row.ids.size
        return row
