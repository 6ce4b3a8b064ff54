"""RPC Inference.Explain: which feedback and which words most moved an answer.

The words are asked about in the engine, as bulk work: the text without each of them, with whatever
serves. The feedback is asked about in the adapt process, which holds the labels' vectors.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import log

import numpy as np

from honed_adapt.feedback.log import Record
from honed_adapt.insight.explain import Reason, Word, words
from honed_adapt.insight.scores import softmax
from honed_adapt.process.questions import Explain, Explained
from honed_proto.v1 import inference_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest, ServingError
from honed_server.edge.rpc import Call
from honed_server.insight.drift import OWN_TENANT
from honed_server.insight.questions import Questions
from honed_server.models.catalogue import Catalogue
from honed_server.serving.batcher import Answer, Outcome

Ask = Callable[[pb.PredictRequest, Call], Awaitable[list[Outcome]]]

_TOP_K, _MOST_TOP_K = 5, 100
# Together with the text itself as many as one request may have.
_MOST_WORDS = validate.MAX_TEXTS - 1
# Least probability that a logarithm is taken of.
_TINY = 1e-30


class Explanations:
    """Answers Inference.Explain. Event loop only.

    Args:
        catalogue: The models.
        ask: Asks the engine, without a trace in the prediction log.
        questions: Asks the adapt process.
    """

    def __init__(self, catalogue: Catalogue, ask: Ask, questions: Questions) -> None:
        self._catalogue = catalogue
        self._ask = ask
        self._questions = questions

    async def explain(self, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
        """Explains what is answered now; see inference.proto for the errors."""
        count = _count(request.top_k)
        self._catalogue.entry(request.model)
        text = validate.text(request.text, "text")
        found = words(text, _MOST_WORDS) if request.include_tokens else []
        answer, *without = await self._answers(request.model, text, found, call)
        assert isinstance(answer, Answer), "an error was raised"
        assert answer.embedding is not None, "every vector is asked for"
        label = request.label or answer.labels[0]
        if label not in answer.generation.head.labels:
            hint = validate.suggestion(label, list(answer.generation.head.labels))
            raise InvalidRequest(
                f"model {request.model!r} does not know label {validate.shown(label)}{hint}",
                reason="UNKNOWN_LABEL",
                field="label",
            )
        question = partial(
            Explain, model=request.model, label=label, count=count, vector=answer.embedding
        )
        behind = await self._questions.ask(question, call.patience_s())
        assert isinstance(behind, Explained), "an answer is of the question's kind"
        response = pb.ExplainResponse(
            model=request.model,
            version=answer.generation.version,
            revision=answer.generation.revision,
            label=label,
            probability=_probability(answer, label),
        )
        await self._add_feedback(response, behind)
        for word, outcome in zip(found, without, strict=True):
            _add_word(response, text, word, outcome, len(answer.generation.head.labels))
        return response

    async def _answers(
        self, model: str, text: str, found: Sequence[Word], call: Call
    ) -> list[Outcome]:
        """The outcome of the text and of the text without each word; the first is an answer."""
        asked = pb.PredictRequest(
            model=model,
            texts=[text, *(word.taken_out(text) for word in found)],
            include_logits=True,
            priority=pb.PRIORITY_BULK if found else pb.PRIORITY_INTERACTIVE,
            tenant=OWN_TENANT,
        )
        outcomes = await self._ask(asked, call)
        if isinstance(outcomes[0], ServingError):
            raise outcomes[0]
        return outcomes

    async def _add_feedback(self, response: pb.ExplainResponse, behind: Explained) -> None:
        wanted = [reason.position for reason in (*behind.influential, *behind.nearest)]
        records = await asyncio.to_thread(self._catalogue.log.at, response.model, wanted)
        known = {record.position: record for record in records}
        for reasons, field in (
            (behind.influential, response.influential),
            (behind.nearest, response.nearest),
        ):
            # What was deleted in this moment is left out.
            field.extend(
                _influence(reason, known[reason.position])
                for reason in reasons
                if reason.position in known and not known[reason.position].deleted_position
            )


def _count(top_k: int) -> int:
    if top_k > _MOST_TOP_K:
        raise InvalidRequest(
            f"top_k is {top_k}; ask for at most {_MOST_TOP_K}", reason="BAD_TOP_K", field="top_k"
        )
    return top_k or _TOP_K


def _probability(answer: Answer, label: str) -> float:
    head = answer.generation.head
    assert answer.logits is not None, "they were asked for"
    odds = softmax(answer.logits[None].astype(np.float64), head.temperature)
    # The text without a word may have been answered by a newer head, but labels do not go lightly.
    return float(odds[0, head.labels.index(label)]) if label in head.labels else 0.0


def _influence(reason: Reason, record: Record) -> pb.Influence:
    return pb.Influence(
        feedback_id=record.feedback_id,
        text=record.text,
        label=record.label,
        submitter=record.submitter,
        similarity=reason.similarity,
        influence=reason.influence,
    )


def _add_word(
    response: pb.ExplainResponse, text: str, word: Word, outcome: Outcome, labels: int
) -> None:
    """Without its only word a text says nothing: then each label is as likely as the others."""
    if isinstance(outcome, Answer):
        left = _probability(outcome, response.label)
    elif outcome.reason == "EMPTY_TEXT":
        left = 1 / labels
    else:
        raise outcome
    start, end = word.bytes_of(text)
    fall = log(max(response.probability, _TINY)) - log(max(left, _TINY))
    response.tokens.add(text=word.text, start=start, end=end, attribution=fall)
