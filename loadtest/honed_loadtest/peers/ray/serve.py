"""Ray Serve: a deployment whose replicas batch requests, behind Ray's HTTP proxy."""

import signal
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from honed_loadtest.peers.classifier import Classifier, Order

ORDER = Order.given()


@serve.deployment(
    num_replicas=ORDER.settings.workers,
    max_ongoing_requests=2 * ORDER.settings.batch,
    ray_actor_options={"num_cpus": 0.5},
)
class Texts:
    """POST / with `{"text": ...}`."""

    def __init__(self) -> None:
        self.classify = Classifier(ORDER)

    @serve.batch(
        max_batch_size=ORDER.settings.batch, batch_wait_timeout_s=ORDER.settings.wait_ms / 1e3
    )
    async def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """A batch's answers."""
        return [{"label": label, "score": score} for label, score in self.classify(texts)]

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The answer to one request."""
        return await self.predict((await request.json())["text"])


def main() -> None:
    """Serves until it is ended."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": ORDER.port})
    serve.run(Texts.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
