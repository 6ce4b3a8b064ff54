"""PyTriton: a batched Python function behind NVIDIA's Triton server."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.proxy import data
from pytriton.triton import Triton, TritonConfig

from honed_loadtest.peers.classifier import Classifier, Order

# PyTriton 0.7.0 brings an interpreter whose RLock lacks what the resource tracker of newer 3.11s
# asks it for; the lock that is written in Python has it. That interpreter reads this file.
_FIX = """
from multiprocessing import resource_tracker
resource_tracker._resource_tracker._lock = threading._PyRLock()
"""


def mend() -> None:
    """Lets it start, by a line in this environment's copy of it."""
    source = Path(data.__file__)
    if _FIX not in source.read_text():
        with source.open("a") as file:
            file.write(_FIX)


def main() -> None:
    """Serves until it is ended."""
    mend()
    order = Order.given()
    settings = order.settings

    def answering(classify: Classifier) -> Callable[..., object]:
        @batch
        def answer(text: NDArray[np.bytes_]) -> dict[str, NDArray[np.generic]]:
            answers = classify([row.decode() for row in text[:, 0]])
            return {
                "label": np.array([[label.encode()] for label, _ in answers]),
                "score": np.array([[score] for _, score in answers], np.float32),
            }

        return answer

    config = TritonConfig(
        http_address="127.0.0.1", http_port=order.port, grpc_port=order.spare_port,
        allow_metrics=False,
    )  # fmt: skip
    with Triton(config=config, workspace=Path("triton").absolute()) as triton:
        triton.bind(
            model_name="texts",
            infer_func=[answering(Classifier(order)) for _ in range(settings.workers)],
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="label", dtype=bytes, shape=(1,)),
                Tensor(name="score", dtype=np.float32, shape=(1,)),
            ],
            config=ModelConfig(
                max_batch_size=settings.batch,
                batcher=DynamicBatcher(max_queue_delay_microseconds=int(settings.wait_ms * 1000)),
            ),
            strict=True,
        )
        triton.serve()


if __name__ == "__main__":
    main()
