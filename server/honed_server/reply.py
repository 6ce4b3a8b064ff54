"""Last stop of a prediction: outcomes become the reply, and answers get their names."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from honed_proto.v1 import inference_pb2 as pb
from honed_server.batcher import Answer, Outcome
from honed_server.errors import ServingError
from honed_server.prediction_ids import PredictionIds


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
            # The engine may have been asked for vectors that are to be kept.
            if request.include_embedding and outcome.embedding is not None:
                item.prediction.embedding = outcome.embedding.astype("<f4").tobytes()
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
    if answer.logits is not None:
        prediction.logits = answer.logits.astype("<f4").tobytes()
        prediction.logit_labels.extend(generation.head.labels)


def _set(duration: Duration, seconds: float) -> None:
    # A third of the time of Duration.FromNanoseconds, which must do for any sign and size.
    whole = int(seconds)
    duration.seconds, duration.nanos = whole, int((seconds - whole) * 1e9)
