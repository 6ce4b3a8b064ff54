"""Answers texts whose vectors are known, without the engine; `embedding_cache_mb` switches it on.

It stands between tokenising and the queue. What is kept is what an encoder made of a text's tokens:
the head that serves now computes the answer, so swaps of heads void nothing, and all models of an
encoder profit. Vectors tell of texts: they are in memory only, and deletion of feedback ends them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from honed_kernels.head import HeadOutput, HeadWeights, grouped_head
from honed_server.edge.metrics import Metrics
from honed_server.serving.batcher import Answer, Row
from honed_server.serving.engine import Delivery, answers
from honed_server.serving.generations import Encoder, Generation, GenerationTable

Vector = NDArray[np.float32]
Watch = Callable[[Generation, str, Vector], None]

# Bytes that Python takes for an entry beside its tokens and its vector, rounded up.
_ENTRY_BYTES = 512
# Above so many products, about a millisecond, heads would hold up the event loop.
_INLINE_PRODUCTS = 4_000_000


@dataclass(slots=True)
class _Entry:
    vector: Vector
    used: int


class _Recent:
    """The vectors of one encoder by their tokens, the least recently used first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.bytes = 0

    @property
    def oldest(self) -> int:
        """When its least recently used entry was used; it has one."""
        return next(iter(self.entries.values())).used

    def use(self, ids: bytes, now: int) -> Vector | None:
        """The vector of a text, used now."""
        entry = self.entries.get(ids)
        if entry is None:
            return None
        entry.used = now
        self.entries.move_to_end(ids)
        return entry.vector

    def add(self, ids: bytes, vector: Vector, now: int) -> None:
        """Takes in a vector that is not there."""
        self.entries[ids] = _Entry(vector, now)
        self.bytes += len(ids) + vector.nbytes + _ENTRY_BYTES

    def drop_oldest(self) -> None:
        """Frees the least recently used vector."""
        ids, entry = self.entries.popitem(last=False)
        self.bytes -= len(ids) + entry.vector.nbytes + _ENTRY_BYTES


class EmbeddingCache:
    """The vectors that encoders made last, within some bytes. A vector ends with its encoder.

    One thread writes; `bytes` may be read by any.

    Args:
        max_bytes: What all vectors may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._now = 0
        self._by_encoder: WeakKeyDictionary[Encoder, _Recent] = WeakKeyDictionary()

    @property
    def bytes(self) -> int:
        """What is taken now."""
        return sum(recent.bytes for recent in list(self._by_encoder.values()))

    def get(self, encoder: Encoder, ids: NDArray[np.int64]) -> Vector | None:
        """What the encoder made of these tokens, if it is known; to be read only."""
        self._now += 1
        recent = self._by_encoder.get(encoder)
        return recent.use(ids.tobytes(), self._now) if recent else None

    def put(self, encoder: Encoder, ids: NDArray[np.int64], vector: Vector) -> None:
        """Keeps what the encoder made of these tokens; what was known of them stays."""
        if self.get(encoder, ids) is not None:
            return
        own = vector.copy()  # alone it does not keep its batch alive
        self._by_encoder.setdefault(encoder, _Recent()).add(ids.tobytes(), own, self._now)
        while self.bytes > self._max_bytes:
            filled = (recent for recent in self._by_encoder.values() if recent.entries)
            min(filled, key=lambda recent: recent.oldest).drop_oldest()

    def clear(self) -> None:
        """Forgets all."""
        self._by_encoder.clear()


class Recall:
    """Knows what was asked before. Event loop only.

    Args:
        table: What serves.
        max_bytes: Of the vectors that are kept; 0 keeps none.
        executor: Computes large heads off the event loop.
        metrics: Counts texts that were known, and those that were not.

    Attributes:
        watch: Hears of each vector that answers a text: its generation, its tenant, the vector.
    """

    def __init__(
        self, table: GenerationTable, max_bytes: int, executor: Executor, metrics: Metrics
    ) -> None:
        self._table = table
        self._on = max_bytes > 0
        self._cache = EmbeddingCache(max_bytes)
        self._executor = executor
        self._hits, self._misses = metrics.embedding_hits, metrics.embedding_misses
        metrics.embedding_bytes.set_function(lambda: self._cache.bytes)
        self.watch: Watch = lambda _generation, _tenant, _vector: None

    async def settle(self, rows: list[Row]) -> list[Row]:
        """Answers the rows of a request whose vectors are known; returns the others."""
        if rows:
            rows[0].request.include_embedding = True  # for `remember`
        generation = self._table.current.get(rows[0].request.model) if self._on and rows else None
        if generation is None or not generation.head.labels or generation.canary:
            return rows
        known, unknown, vectors = list[Row](), list[Row](), list[Vector]()
        for row in rows:
            vector = self._vector(generation, row)
            if vector is None:
                unknown.append(row)
            else:
                known.append(row)
                vectors.append(vector)
                self.watch(generation, row.request.tenant, vector)
        self._hits.inc(len(known))
        self._misses.inc(len(unknown))
        if known:
            answered = await self._answers(known, generation, np.stack(vectors))
            for row, answer in zip(known, answered, strict=True):
                row.request.settle(row.index, answer)
        return unknown

    def remember(self, delivery: Delivery) -> None:
        """Keeps the vectors of what the engine answered."""
        for row, outcome in delivery:
            if isinstance(outcome, Answer) and outcome.embedding is not None:
                self.watch(outcome.generation, row.request.tenant, outcome.embedding)
                if self._on:
                    self._cache.put(outcome.generation.loaded.encoder, row.ids, outcome.embedding)

    def forget(self) -> None:
        """Forgets all vectors."""
        self._cache.clear()

    def _vector(self, generation: Generation, row: Row) -> Vector | None:
        loaded = generation.loaded
        # The model may have got another encoder while the text was tokenised.
        if row.tokenizer_digest != loaded.tokenizer.digest:
            return None
        return self._cache.get(loaded.encoder, row.ids)

    async def _answers(
        self, rows: list[Row], generation: Generation, vectors: NDArray[np.float32]
    ) -> list[Answer]:
        score, generations = partial(_scored, vectors), [generation] * len(rows)
        head = generation.head
        projected = head.hidden * head.features.count if head.features else 0
        if len(rows) * (head.weight.size + projected) <= _INLINE_PRODUCTS:
            return answers(score, rows, generations, False, monotonic())
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, answers, score, rows, generations, False, monotonic()
        )


def _scored(
    vectors: NDArray[np.float32],
    _rows: Sequence[NDArray[np.int64]],
    heads: Sequence[HeadWeights],
    head_id: NDArray[np.int64],
    *,
    top_k: Sequence[int],
    logits: bool,
    lone: bool,
) -> tuple[HeadOutput, NDArray[np.float32]]:
    """As `Encoder.answer`, with vectors that it once made of the rows."""
    del lone  # nothing runs that could use more cores
    return grouped_head(vectors, head_id, heads, top_k=top_k, logits=logits), vectors
