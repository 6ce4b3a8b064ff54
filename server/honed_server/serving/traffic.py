"""What answers leave behind: metrics, vectors that are kept, rows of the prediction log.

The engine tells of each batch, the service of each answer that got a name. Event loop only.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from honed_server.edge.metrics import Metrics
from honed_server.serving.admission import Admission
from honed_server.serving.batcher import Answer, Batch
from honed_server.serving.engine import Delivery
from honed_server.serving.generations import GenerationTable
from honed_server.serving.predictions import PredictionLog, PredictionRow
from honed_server.serving.recall import Recall

# Longest time that an answer waits to be logged on disk together with others.
_FLUSH_S = 0.05


class Traffic:
    """Notes what was answered.

    Args:
        table: What serves.
        admission: Learns how long outcomes wait for the event loop.
        recall: Keeps vectors.
        predictions: The log.
        metrics: The series.

    Attributes:
        feel: Hears of a batch's seconds, and how long its texts had waited.
    """

    def __init__(
        self,
        table: GenerationTable,
        admission: Admission,
        recall: Recall,
        predictions: PredictionLog,
        metrics: Metrics,
    ) -> None:
        self._table = table
        self._admission = admission
        self._recall = recall
        self._predictions = predictions
        self._metrics = metrics
        self._flush_due = False
        self.feel: Callable[[float, Sequence[float]], None] = lambda _seconds, _delays_s: None

    def observe(self, batch: Batch, seconds: float, delivery: Delivery) -> None:
        """Notes a batch that took so many seconds."""
        self._admission.observe(time.monotonic() - batch.formed - seconds)
        metrics = self._metrics
        metrics.expired.inc(len(batch.expired))
        if not batch.rows:
            return
        self._recall.remember(delivery)
        metrics.batches.labels(batch.reason).inc()
        metrics.batch_texts.observe([len(batch.rows)])
        metrics.batch_tokens.observe([batch.tokens])
        metrics.compute_seconds.observe([seconds])
        delays_s = [outcome.queue_s for _, outcome in delivery if isinstance(outcome, Answer)]
        metrics.queue_seconds.observe(delays_s)
        self.feel(seconds, delays_s)

    def log(self, answers: Sequence[tuple[str, Answer]]) -> None:
        """Logs answers by their prediction ids."""
        now, serving = time.time(), self._table.current
        self._predictions.add(
            [
                PredictionRow(
                    prediction_id=prediction_id,
                    model=answer.generation.model,
                    # The model may have been deleted while the batch was computed.
                    text=answer.text if answer.generation.model in serving else None,
                    label=answer.labels[0],
                    probability=answer.probabilities[0],
                    version=answer.generation.version,
                    revision=answer.generation.revision,
                    time=now,
                    precision=answer.generation.loaded.encoder.precision,
                )
                for prediction_id, answer in answers
            ]
        )
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._predictions.flush()
