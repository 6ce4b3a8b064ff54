"""What is asked of a model, whatever the texts and the way they are sent."""

from dataclasses import dataclass
from typing import Literal

from honed import _rpcs
from honed._call import Call
from honed._convert import predictions_from
from honed.errors import HonedError
from honed.types import Prediction
from honed_proto.v1 import inference_pb2 as pb

Priority = Literal["interactive", "bulk"]
"""Whether somebody waits for the answer."""

_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of `predict_many`, but for the texts.

    Raises:
        ValueError: `priority` is neither "interactive" nor "bulk", or no message can hold a value.
    """

    model: str
    top_k: int = 1
    logits: bool = False
    embedding: bool = False
    priority: Priority = "interactive"
    tenant: str = ""
    prediction_set: bool = False

    def __post_init__(self) -> None:
        if self.priority not in _PRIORITIES:
            raise ValueError(f"priority must be interactive or bulk, not {self.priority!r}")
        self.request([])  # refuses here what no message can hold: later it would strand others

    def request(self, texts: list[str], request_id: str = "") -> pb.PredictRequest:
        """The message that asks it about texts."""
        return pb.PredictRequest(
            model=self.model,
            texts=texts,
            top_k=self.top_k,
            include_logits=self.logits,
            include_embedding=self.embedding,
            request_id=request_id,
            priority=_PRIORITIES[self.priority],
            tenant=self.tenant,
            include_set=self.prediction_set,
        )

    def about(
        self, texts: list[str], timeout_s: float | None = None
    ) -> Call[list[Prediction | HonedError]]:
        """Describes one call for some texts."""
        return Call(
            _rpcs.PREDICT,
            self.request(texts),
            lambda answer: predictions_from(answer, texts),
            timeout_s,
        )
