"""Calls of the Inference service: texts -> predictions."""

from collections.abc import Iterable

from honed import _rpcs
from honed._connection import Connection
from honed._convert import prediction_from, value_or_raise
from honed.errors import HonedError
from honed.types import Prediction
from honed_proto.v1 import inference_pb2


class InferenceCalls:
    """Classification, the part of `Client` that speaks to `honed.v1.Inference`."""

    _connection: Connection

    def predict(
        self,
        model: str,
        text: str,
        top_k: int = 1,
        logits: bool = False,
        embedding: bool = False,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Classifies one text; the arguments are those of `predict_many`."""
        (result,) = self.predict_many(model, [text], top_k, logits, embedding, timeout_s)
        return value_or_raise(result)

    def predict_many(
        self,
        model: str,
        texts: Iterable[str],
        top_k: int = 1,
        logits: bool = False,
        embedding: bool = False,
        timeout_s: float | None = None,
    ) -> list[Prediction | HonedError]:
        """Classifies 1 to 256 texts in one call; each succeeds or fails by itself.

        Args:
            model: Name of the model.
            texts: The texts, up to 64 KiB of UTF-8 each; long ones are cut at 256 tokens.
            top_k: How many scores to return for each text.
            logits: Whether to return the logits of all labels.
            embedding: Whether to return each text's vector.
            timeout_s: Deadline in seconds; the client's if None.

        Returns:
            The prediction or the error of each text, in order.
        """
        texts = list(texts)
        request = inference_pb2.PredictRequest(
            model=model,
            texts=texts,
            top_k=top_k,
            include_logits=logits,
            include_embedding=embedding,
        )
        items = self._connection.call(_rpcs.PREDICT, request, timeout_s).items
        return [prediction_from(item, text) for item, text in zip(items, texts, strict=True)]
