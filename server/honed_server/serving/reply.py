"""Last stop of a prediction: outcomes become the reply, and answers get their names."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_proto.v1 import inference_pb2 as pb
from honed_server.edge.errors import ServingError
from honed_server.serving.batcher import Answer, Outcome
from honed_server.serving.prediction_ids import PredictionIds


def reply(
    request: pb.PredictRequest, outcomes: Sequence[Outcome], ids: PredictionIds
) -> tuple[pb.PredictResponse, list[tuple[str, Answer]]]:
    """The reply, one item a text, and the answers in it with their new prediction ids."""
    response = pb.PredictResponse(request_id=request.request_id)
    named: list[tuple[str, Answer]] = []
    for outcome in outcomes:
        item = response.items.add()
        if isinstance(outcome, ServingError):
            item.error.CopyFrom(outcome.to_status())
        else:
            prediction_id = ids.new()
            named.append((prediction_id, outcome))
            _fill(item.prediction, prediction_id, outcome)
            _add_extras(item.prediction, request, outcome)
    return response, named


def _fill(prediction: pb.Prediction, prediction_id: str, answer: Answer) -> None:
    """Writes an answer into its place in the response, so that nothing is copied."""
    generation = answer.generation
    prediction.prediction_id = prediction_id
    prediction.model = generation.model
    prediction.version = generation.version
    prediction.revision = generation.revision
    prediction.label_set_version = generation.label_set_version
    prediction.num_tokens = answer.num_tokens
    prediction.truncated = answer.truncated
    _set(prediction.queue_time, answer.queue_s)
    _set(prediction.compute_time, answer.compute_s)
    for label, probability in zip(answer.labels, answer.probabilities, strict=True):
        prediction.scores.add(label=label, probability=probability)
    prediction.out_of_scope_score = answer.out_of_scope_score
    threshold = generation.head.threshold
    prediction.out_of_scope = threshold is not None and answer.out_of_scope_score > threshold


def _add_extras(prediction: pb.Prediction, request: pb.PredictRequest, answer: Answer) -> None:
    """Writes what was asked for; the engine may have found more, for sets and to keep vectors."""
    head = answer.generation.head
    if request.include_logits and answer.logits is not None:
        prediction.logits = answer.logits.astype("<f4").tobytes()
        prediction.logit_labels.extend(head.labels)
    if request.include_set and answer.logits is not None:
        prediction.prediction_set.extend(prediction_set(head, answer.logits))
    if request.include_embedding and answer.embedding is not None:
        prediction.embedding = answer.embedding.astype("<f4").tobytes()


def prediction_set(head: Head, logits: NDArray[np.float32]) -> list[str]:
    """Labels whose probability reaches `head.conformal`, likeliest first; none if that is unset.

    The best one is always there, so that only a head without sets gives an empty one. Sets of this
    kind are the smallest on average for their coverage (Sadinle, Lei and Wasserman 2019).

    Args:
        head: what answered.
        logits: float32 (num_labels,), before temperature.
    """
    if head.conformal is None:
        return []
    weights = np.exp((logits - logits.max()).astype(np.float64) / head.temperature)
    order = np.argsort(-weights, kind="stable")
    count = max(1, int((weights >= head.conformal * weights.sum()).sum()))
    return [head.labels[index] for index in order[:count].tolist()]


def _set(duration: Duration, seconds: float) -> None:
    # A third of the time of Duration.FromNanoseconds, which must do for any sign and size.
    whole = int(seconds)
    duration.seconds, duration.nanos = whole, int((seconds - whole) * 1e9)
