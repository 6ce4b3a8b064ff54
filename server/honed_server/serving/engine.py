"""Third stop of a prediction: the workers that own the devices.

One thread per CPU core, or two per GPU; all share the encoders. A batch comes with the generation
table as it was when it was formed, and each row is answered with its own model's head.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, thread_time

import numpy as np
import structlog

from honed_adapt.insight import open_set
from honed_server.edge.errors import DeadlinePassed, NotReady, Unavailable, UnknownModel
from honed_server.serving.batcher import Answer, Batch, BatchQueue, Outcome, Row
from honed_server.serving.canary import answering
from honed_server.serving.generations import Generation, Scorer
from honed_server.serving.tokenizer import Tokenizer

log = structlog.get_logger(__name__)

Delivery = list[tuple[Row, Outcome]]


class Engine:
    """Runs `workers` threads from `start` to `close`.

    Args:
        queue: Where batches come from.
        workers: Number of threads.
        loop: Event loop that receives the outcomes, one call per batch.
        observe: Called on the loop with each batch, its duration in seconds and its outcomes.
        on_crash: Called on the loop when a worker died of a bug; nothing is computed after that.
    """

    def __init__(
        self,
        queue: BatchQueue,
        *,
        workers: int,
        loop: asyncio.AbstractEventLoop,
        observe: Callable[[Batch, float, Delivery], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._queue = queue
        self._loop = loop
        self._observe = observe
        self._on_crash = on_crash
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"engine-{n}", daemon=True)
            for n in range(workers)
        ]
        self._cpu_s = [0.0] * workers

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the workers have taken, up to their last batches."""
        return sum(self._cpu_s)

    def start(self) -> None:
        """Starts the workers."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops the workers after their present batch; rows still queued fail as unavailable.

        It waits for the workers: call it in a thread.
        """
        reason = "the server is shutting down; send the request again"
        self._loop.call_soon_threadsafe(self._fail, self._queue.close(), reason)
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        while (batch := self._queue.take()) is not None:
            started = monotonic()
            try:
                delivery = compute(batch, started)
            except BaseException as error:
                log.exception("engine worker failed: this is a bug", rows=len(batch.rows))
                self._loop.call_soon_threadsafe(self._crashed, batch, error)
                return
            finally:
                self._queue.done(batch)
            self._cpu_s[number] = thread_time()
            self._loop.call_soon_threadsafe(self._deliver, batch, monotonic() - started, delivery)
            del batch, delivery  # an idle worker keeps no encoder alive that was taken out of use

    def _deliver(self, batch: Batch, seconds: float, delivery: Delivery) -> None:
        self._observe(batch, seconds, delivery)
        for row, outcome in delivery:
            row.request.settle(row.index, outcome)

    def _crashed(self, batch: Batch, error: BaseException) -> None:
        waiting = self._queue.close()
        reason = "the engine failed on an internal error and is down; the log has the details"
        self._fail([*batch.rows, *batch.expired, *batch.unknown, *waiting], reason)
        self._on_crash(error)

    def _fail(self, rows: list[Row], reason: str) -> None:
        for row in rows:
            row.request.settle(row.index, Unavailable(reason, reason="ENGINE_DOWN"))


def compute(batch: Batch, started: float) -> Delivery:
    """Answers a batch under its one table; the order of the delivery is free."""
    delivery: Delivery = [(row, _expired()) for row in batch.expired]
    delivery += [(row, _vanished(row)) for row in batch.unknown]
    rows, generations = list[Row](), list[Generation]()
    for row in batch.rows:
        generation = answering(batch.table, row.request.model, row.text)
        if generation and generation.head.labels:
            rows.append(_retokenised(row, generation.loaded.tokenizer))
            generations.append(generation)
        else:
            delivery.append((row, _not_learned(row.request.model)))
    if rows:
        score = generations[0].loaded.encoder.answer
        delivery += zip(rows, answers(score, rows, generations, batch.lone, started), strict=True)
    return delivery


def _retokenised(row: Row, tokenizer: Tokenizer) -> Row:
    """The row itself unless its model got another tokenizer after it was queued."""
    if row.tokenizer_digest == tokenizer.digest:
        return row
    (new,) = tokenizer.tokenise([row.text])
    return replace(row, ids=new.ids, truncated=new.truncated, tokenizer_digest=tokenizer.digest)


def answers(
    score: Scorer, rows: list[Row], generations: list[Generation], lone: bool, started: float
) -> list[Answer]:
    """The answer of each row from its own head; one call of `score` for all."""
    unique = list({id(g): g for g in generations}.values())
    place = {id(g): n for n, g in enumerate(unique)}
    head_id = np.array([place[id(g)] for g in generations])
    output, vectors = score(
        [row.ids for row in rows],
        [g.weights for g in unique],
        head_id,
        top_k=[row.request.top_k for row in rows],
        logits=any(row.request.include_logits for row in rows),
        lone=lone,
    )
    strange = open_set.of_batch([g.head for g in unique], head_id, output, vectors)
    compute_s = monotonic() - started
    return [
        Answer(
            generation=generation,
            labels=[generation.head.labels[k] for k in output.indices[i].tolist()],
            probabilities=output.probabilities[i].tolist(),
            logits=output.logits[i] if row.request.include_logits and output.logits else None,
            embedding=vectors[i] if row.request.include_embedding else None,
            text=row.text,
            num_tokens=row.ids.size,
            truncated=row.truncated,
            queue_s=started - row.request.admitted,
            compute_s=compute_s,
            out_of_scope_score=strange[i],
        )
        for i, (row, generation) in enumerate(zip(rows, generations, strict=True))
    ]


def _expired() -> DeadlinePassed:
    return DeadlinePassed(
        "the deadline passed while the text was queued; allow more time or send less at once",
        reason="EXPIRED_IN_QUEUE",
    )


def _vanished(row: Row) -> UnknownModel:
    return UnknownModel(f"model {row.request.model!r} was deleted while the text was queued")


def _not_learned(model: str) -> NotReady:
    return NotReady(
        f"model {model!r} has learned no label yet; submit feedback with the right labels first",
        reason="NOTHING_LEARNED",
    )
