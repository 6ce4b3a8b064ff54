"""LitServe: a batched API in a worker process, behind FastAPI."""

from collections.abc import Sequence
from typing import Any

import litserve

from honed_loadtest.peers.classifier import Classifier, Order


class Texts(litserve.LitAPI):
    """POST /predict with `{"text": ...}`."""

    def setup(self, device: str) -> None:
        """Loads the model in the worker process."""
        self.classify = Classifier(Order.given())

    def decode_request(self, request: dict[str, str]) -> str:
        """The text of a request."""
        return request["text"]

    def predict(self, texts: Sequence[str] | str) -> list[tuple[str, float]] | tuple[str, float]:
        """A batch's answers; LitServe hands a single text over as it is if batches hold one."""
        return self.classify([texts])[0] if isinstance(texts, str) else self.classify(texts)

    def encode_response(self, output: tuple[str, float]) -> dict[str, Any]:
        """The answer to a request."""
        return {"label": output[0], "score": output[1]}


def main() -> None:
    """Serves until it is ended."""
    order = Order.given()
    settings = order.settings
    api = Texts(max_batch_size=settings.batch, batch_timeout=settings.wait_ms / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=settings.workers)
    server.run(
        host="127.0.0.1", port=order.port, generate_client_file=False, log_level="warning",
        num_api_servers=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
