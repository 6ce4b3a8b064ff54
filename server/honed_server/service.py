"""RPCs of `honed.v1.Inference`: validate, tokenise, admit, queue, and build the answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from time import monotonic

from honed_proto.v1 import inference_pb2 as pb
from honed_server import validate
from honed_server.admission import Admission
from honed_server.batcher import Answer, BatchQueue, Outcome, Request, Row
from honed_server.errors import DeadlinePassed, InvalidRequest, ServingError
from honed_server.generations import Generation, GenerationTable, LoadedEncoder
from honed_server.prediction_ids import PredictionIds
from honed_server.rpc import Call
from honed_server.stream import answer_each
from honed_server.tokenizer import Tokens

# Above this many bytes in one request tokenising would hold up the event loop for milliseconds.
_INLINE_BYTES = 16 * 1024
# Requests of one stream that are answered at the same time; more wait in the transport.
_STREAM_WINDOW = 64

LogPredictions = Callable[[Sequence[tuple[str, Answer]]], None]


class InferenceService:
    """Answers Predict and PredictStream. Event loop only.

    Args:
        table: What serves.
        queue: Where rows wait for the engine.
        admission: Refuses what cannot be answered in time.
        executor: Tokenises large requests off the event loop.
        missing: The error for a model that does not serve.
        log_predictions: Receives the id and answer of every prediction; must return at once.
        default_deadline_s: For each message of a stream, whose call may stay open for ever.
    """

    def __init__(
        self,
        table: GenerationTable,
        queue: BatchQueue,
        admission: Admission,
        executor: Executor,
        missing: Callable[[str], ServingError],
        log_predictions: LogPredictions,
        default_deadline_s: float,
    ) -> None:
        self._table = table
        self._queue = queue
        self._admission = admission
        self._executor = executor
        self._missing = missing
        self._log = log_predictions
        self._default_deadline_s = default_deadline_s
        self._ids = PredictionIds()

    async def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """Answers one request; see inference.proto for the errors."""
        generation = self._generation(request)
        prepared = await self._prepare(list(request.texts), generation.loaded)
        good = [i for i, item in enumerate(prepared) if isinstance(item, Tokens)]
        outcomes: list[Outcome | None] = [
            item if isinstance(item, ServingError) else None for item in prepared
        ]
        if good:
            answers = await self._compute(request, generation, prepared, good, call)
            for i, answer in zip(good, answers, strict=True):
                outcomes[i] = answer
        return self._response(request, outcomes)

    async def predict_stream(
        self, requests: AsyncIterator[pb.PredictRequest], call: Call
    ) -> AsyncIterator[pb.PredictResponse]:
        """Answers each request of a stream as soon as it is ready."""

        async def answer(request: pb.PredictRequest) -> pb.PredictResponse:
            allowed_s = min(call.remaining_s(), self._default_deadline_s)
            try:
                return await self.predict(request, Call(monotonic() + allowed_s, call.peer))
            except ServingError as error:
                return pb.PredictResponse(request_id=request.request_id, error=error.to_status())

        async for response in answer_each(requests, answer, _STREAM_WINDOW):
            yield response

    def _generation(self, request: pb.PredictRequest) -> Generation:
        """The generation of the requested model, after checking the request as a whole."""
        validate.count(len(request.texts), "texts", validate.MAX_TEXTS)
        validate.identifier(request.request_id, "request_id")
        validate.top_k(request.top_k)
        generation = self._table.current.get(request.model)
        if generation is None:
            raise self._missing(request.model)
        return generation

    async def _prepare(
        self, texts: list[str], loaded: LoadedEncoder
    ) -> list[Tokens | ServingError]:
        """Checks and tokenises each text; faults take the place of the tokens."""
        prepared: list[Tokens | ServingError | None] = [_fault(t, i) for i, t in enumerate(texts)]
        good = [i for i, fault in enumerate(prepared) if fault is None]
        for i, tokens in zip(
            good, await self._tokenise(loaded, [texts[i] for i in good]), strict=True
        ):
            visible = tokens.ids.size > loaded.special_tokens
            prepared[i] = tokens if visible else _empty(i)
        return [item for item in prepared if item is not None]

    async def _tokenise(self, loaded: LoadedEncoder, texts: list[str]) -> list[Tokens]:
        if sum(map(len, texts)) <= _INLINE_BYTES:
            return loaded.tokenizer.tokenise(texts)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, loaded.tokenizer.tokenise, texts)

    async def _compute(
        self,
        request: pb.PredictRequest,
        generation: Generation,
        prepared: list[Tokens | ServingError],
        good: list[int],
        call: Call,
    ) -> list[Outcome]:
        """Admits the rows, waits for the engine, and gives up when the caller does."""
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

        def finish(outcomes: list[Outcome]) -> None:
            if not future.done():  # the caller may have left in this very turn of the loop
                future.set_result(outcomes)

        admitted = Request(
            model=request.model,
            top_k=request.top_k or 1,
            include_logits=request.include_logits,
            include_embedding=request.include_embedding,
            admitted=monotonic(),
            deadline=call.deadline,
            finish=finish,
            outcomes=[None] * len(good),
            pending=len(good),
        )
        digest = generation.loaded.tokenizer.digest
        rows = []
        for n, i in enumerate(good):
            tokens = prepared[i]
            assert isinstance(tokens, Tokens), "good rows are tokenised"
            rows.append(Row(admitted, n, request.texts[i], tokens.ids, tokens.truncated, digest))
        size = sum(row.ids.size for row in rows)
        self._admission.admit(size, call.remaining_s())
        try:
            self._queue.append(rows)
            # No timer: gRPC cancels the handler at the caller's deadline, and the engine fails rows
            # that it finds past theirs.
            outcomes = await future
            if call.remaining_s() <= 0:
                raise DeadlinePassed("the deadline passed before the answer was computed")
            return outcomes
        finally:
            admitted.abandoned = True
            self._admission.release(size)

    def _response(
        self, request: pb.PredictRequest, outcomes: Sequence[Outcome | None]
    ) -> pb.PredictResponse:
        """The reply, one item a text; hands the answers to the prediction log."""
        response = pb.PredictResponse(request_id=request.request_id)
        logged: list[tuple[str, Answer]] = []
        for outcome in outcomes:
            assert outcome is not None, "every text has an outcome"
            if isinstance(outcome, ServingError):
                response.items.add(error=outcome.to_status())
                continue
            prediction_id = self._ids.new()
            logged.append((prediction_id, outcome))
            _fill(response.items.add().prediction, prediction_id, outcome)
        if logged:
            asyncio.get_running_loop().call_soon(self._log, logged)
        return response


def _fault(text: str, i: int) -> ServingError | None:
    try:
        validate.text(text, f"texts[{i}]")
    except InvalidRequest as error:
        return error
    return None


def _empty(i: int) -> InvalidRequest:
    field = f"texts[{i}]"
    return InvalidRequest(
        f"{field} holds nothing that the tokenizer sees; send at least one visible character",
        reason="EMPTY_TEXT",
        field=field,
    )


def _fill(prediction: pb.Prediction, prediction_id: str, answer: Answer) -> None:
    """Writes an answer into its place in the response, so that nothing is copied."""
    generation, row = answer.generation, answer.row
    prediction.prediction_id = prediction_id
    prediction.model = generation.model
    prediction.version = generation.version
    prediction.revision = generation.revision
    prediction.label_set_version = generation.label_set_version
    prediction.num_tokens = row.ids.size
    prediction.truncated = row.truncated
    prediction.queue_time.FromNanoseconds(int((answer.started - row.request.admitted) * 1e9))
    prediction.compute_time.FromNanoseconds(int(answer.compute_s * 1e9))
    for label, probability in zip(answer.labels, answer.probabilities, strict=True):
        prediction.scores.add(label=label, probability=probability)
    if answer.logits is not None:
        prediction.logits = answer.logits.astype("<f4").tobytes()
        prediction.logit_labels.extend(generation.head.labels)
    if answer.embedding is not None:
        prediction.embedding = answer.embedding.astype("<f4").tobytes()
