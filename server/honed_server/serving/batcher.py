"""Second stop of a prediction: texts wait here until a worker is free, and are grouped by tokens.

`form_batch` is the whole decision and is pure; `fairness.py` says in which order it sees the rows.
The queue waits for the engine, never for a clock: a worker that becomes free takes what is there
(as Triton's batcher with delay 0 and text-embeddings-inference do). Why so, and what was rejected:
docs/decisions/0011-batching.md.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from queue import SimpleQueue
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from honed_server.edge.errors import ServingError
from honed_server.serving.canary import answering
from honed_server.serving.cost import Pace
from honed_server.serving.fairness import Lines, Priority
from honed_server.serving.generations import Generation, LoadedEncoder, Table

# Rows that do not fit may be passed by this many later ones; none passes the first.
_LOOK_PAST = 8


@dataclass(slots=True, eq=False)
class Request:
    """One Predict call: its options, its deadline, and the outcomes of its texts as they come.

    Times are seconds of `time.monotonic`. Only the event loop writes to it; workers read.
    """

    model: str
    num_texts: int
    top_k: int
    include_logits: bool
    include_embedding: bool
    admitted: float
    deadline: float
    finish: Callable[[], None]
    priority: Priority = Priority.INTERACTIVE
    tenant: str = ""
    abandoned: bool = False
    outcomes: dict[int, "Outcome"] = field(default_factory=dict)

    def settle(self, index: int, outcome: "Outcome") -> None:
        """Stores the outcome of a text, whose first one counts; after the last calls `finish`."""
        if index not in self.outcomes:
            self.outcomes[index] = outcome
            if len(self.outcomes) == self.num_texts:
                self.finish()


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
    """What the engine found for one row; `probabilities` are best first.

    It does not lead back to its row: in a ring with the request only the collector would free it,
    and the encoder with it, seconds after a swap.
    """

    generation: Generation
    labels: Sequence[str]
    probabilities: Sequence[float]
    logits: NDArray[np.float32] | None
    embedding: NDArray[np.float32] | None
    text: str
    num_tokens: int
    truncated: bool
    queue_s: float
    compute_s: float
    out_of_scope_score: float


Outcome = Answer | ServingError


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Work for one worker, and what becomes of the other rows that were looked at for it.

    Attributes:
        rows: To be computed together, by one encoder.
        expired: Too late to be computed.
        unknown: Of models that have gone.
        keep: Those that go on waiting.
        looked_at: Rows that were looked at, from the first one on.
        reason: Why not more were taken.
        tokens: Of `rows`.
        predicted_s: Seconds that they will take.
        table: Answers them.
        formed: Monotonic seconds.
        lone: Whether it is a single row and nothing else runs or waits.
    """

    rows: list[Row]
    expired: list[Row]
    unknown: list[Row]
    keep: list[Row]
    looked_at: int
    reason: str
    tokens: int
    predicted_s: float
    table: Table
    formed: float
    lone: bool = False


def form_batch(
    waiting: Iterable[Row], table: Table, now: float, share: int, pace: float = 1.0
) -> Batch:
    """Chooses the next batch, without looking further than it must.

    The first row that can be answered in time leads: it is taken whatever its size, and fixes the
    encoder. Later rows join while the batch stays within its tokens and within every deadline in
    it; those that do not fit keep their place, so that one of them leads soon. Rows whose caller
    has left are dropped; those that would miss their deadline and those of vanished models are
    named. The reason is why the first row that was passed was left: `token_budget`,
    `worker_share`, `deadline`, `other_encoder`; `queue_empty` if none was.

    Args:
        waiting: Rows in the order in which they are due.
        table: Generations that will answer this batch.
        now: Monotonic seconds.
        share: Tokens that are this worker's part of what waits.
        pace: Seconds that runs take of late for each predicted second.
    """
    rows: list[Row] = []
    expired: list[Row] = []
    unknown: list[Row] = []
    keep: list[Row] = []
    loaded: LoadedEncoder | None = None
    looked_at = tokens = limit = 0
    predicted_s, tightest, reason = 0.0, inf, "queue_empty"
    for row in waiting:
        looked_at += 1
        request, size = row.request, row.ids.size
        if request.abandoned:
            continue
        if (generation := answering(table, request.model, row.text)) is None:
            unknown.append(row)
            continue
        cost = generation.loaded.cost
        if now + pace * cost.seconds(size, 1) >= request.deadline:
            expired.append(row)
            continue
        if loaded is None:
            loaded = generation.loaded
            limit = min(cost.budget_tokens, max(cost.split_tokens, share))
        if generation.loaded.key != loaded.key:
            left = "other_encoder"
        elif rows and tokens + size > limit:
            left = "token_budget" if limit == cost.budget_tokens else "worker_share"
        else:
            joint_s = cost.seconds(tokens + size, len(rows) + 1)
            earliest = min(tightest, request.deadline)
            if now + pace * joint_s < earliest:
                rows.append(row)
                tokens, predicted_s, tightest = tokens + size, joint_s, earliest
                continue
            left = "deadline"
        reason = reason if keep else left
        keep.append(row)
        if len(keep) == _LOOK_PAST:
            break
    return Batch(rows, expired, unknown, keep, looked_at, reason, tokens, predicted_s, table, now)


class BatchQueue:
    """Rows waiting for the engine. The event loop appends, workers take; one lock.

    Args:
        table: Reads the current generation table.
        workers: Number of workers that share the queue.
        clock: Monotonic seconds; the simulator brings its own.
    """

    def __init__(
        self, table: Callable[[], Table], *, workers: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._table = table
        self._workers = workers
        self._clock = clock
        self._lines = Lines()
        self._lock = threading.Lock()
        # One token wakes one idle worker; a Condition would cost twice the CPU of the whole hop.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = 0
        self._running: list[Batch] = []
        self._closed = False
        self.pace = Pace()

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._lines.tokens

    def append(self, rows: Sequence[Row]) -> None:
        """Adds the rows of one request and wakes as many workers as can be useful."""
        generation = self._table().get(rows[0].request.model)
        token_s = generation.loaded.cost.token_s if generation else 0.0
        with self._lock:
            for row in rows:
                self._lines.add(row, row.ids.size * token_s)
            self._wake_up(len(rows))

    def take(self) -> Batch | None:
        """Waits for work; None when the queue was closed."""
        while True:
            with self._lock:
                if self._closed:
                    return None
                if self._lines:
                    return self._next()
                self._idle += 1
            self._wake.get()

    def done(self, batch: Batch) -> None:
        """Says that the worker has finished the batch it took."""
        with self._lock:
            self._running.remove(batch)
            # A lone text had all cores to itself: it says nothing of how the others will fare.
            if batch.rows and not batch.lone:
                self.pace.observe(self._clock() - batch.formed, batch.predicted_s)

    def close(self) -> list[Row]:
        """Wakes all workers for good and returns the rows that nobody took."""
        with self._lock:
            self._closed = True
            self._wake_up(self._idle)
            return self._lines.clear()

    def ahead_s(self, priority: Priority, tenant: str, work_s: float) -> float:
        """Predicted seconds of one worker for all that goes before new work of `work_s` seconds."""
        with self._lock:
            running_s = sum(batch.predicted_s for batch in self._running)
            return running_s + self._lines.ahead_s(priority, tenant, work_s)

    def _wake_up(self, workers: int) -> None:
        for _ in range(min(workers, self._idle)):
            self._idle -= 1
            self._wake.put(None)

    def _next(self) -> Batch:
        line, table, now = self._lines.first(), self._table(), self._clock()
        # Free workers that share what waits finish it sooner, down to a useful batch size.
        share = -(-line.tokens // (self._workers - len(self._running)))
        batch = form_batch(line, table, now, share, self.pace.ratio)
        self._lines.remove(line, batch)
        if not batch.rows and any(row.request.deadline > now for row in batch.expired):
            self.pace.doubt()
        if len(batch.rows) == 1 and not self._running and not self._lines:
            batch = replace(batch, lone=True)
        self._running.append(batch)
        return batch
