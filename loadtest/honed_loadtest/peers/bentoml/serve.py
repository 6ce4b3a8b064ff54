"""BentoML: a service with adaptive batching; `bentoml serve` starts it."""

from typing import Any

import bentoml

from honed_loadtest.peers.classifier import Classifier, Order

ORDER = Order.given()


@bentoml.service(workers=ORDER.settings.workers)
class Texts:
    """POST /predict with `{"texts": [...]}`."""

    def __init__(self) -> None:
        self.classify = Classifier(ORDER)

    @bentoml.api(
        batchable=True,
        max_batch_size=ORDER.settings.batch,
        # Also how long a request may take in all, so it cannot be short.
        max_latency_ms=int(ORDER.settings.wait_ms),
    )
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """A batch's answers: BentoML has joined the requests' lists."""
        return [{"label": label, "score": score} for label, score in self.classify(texts)]
