"""MLServer: a custom runtime with adaptive batching, over the V2 protocol."""

import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings, types
from mlserver.codecs import StringCodec

from honed_loadtest.peers.classifier import Classifier, Order


class Texts(MLModel):
    """POST /v2/models/texts/infer with one BYTES input."""

    async def load(self) -> bool:
        """Loads the model."""
        self.classify = Classifier(Order.given())
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """A batch's answers: MLServer has merged the requests' inputs."""
        answers = self.classify(StringCodec.decode_input(payload.inputs[0]))
        labels = StringCodec.encode_output("label", [label for label, _ in answers])
        scores = types.ResponseOutput(
            name="score", shape=[len(answers), 1], datatype="FP32", data=[s for _, s in answers]
        )
        return types.InferenceResponse(model_name=self.name, outputs=[labels, scores])


async def serve() -> None:
    """Serves until it is ended."""
    order = Order.given()
    workers = order.settings.workers
    settings = Settings(
        host="127.0.0.1", http_port=order.port, grpc_port=order.spare_port, metrics_endpoint=None,
        parallel_workers=workers if workers > 1 else 0, debug=False,
    )  # fmt: skip
    model = ModelSettings(
        name="texts", implementation=f"{__spec__.name}.Texts",
        max_batch_size=order.settings.batch, max_batch_time=order.settings.wait_ms / 1e3,
    )  # fmt: skip
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(serve())
