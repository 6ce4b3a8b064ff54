"""RPCs of `honed.v1.Inference`: validate, tokenise, admit, queue, and wait for the answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from time import monotonic

from honed_proto.v1 import inference_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import DeadlinePassed, ServingError
from honed_server.edge.rpc import Call
from honed_server.serving.admission import Admission
from honed_server.serving.batcher import Answer, BatchQueue, Outcome, Request, Row
from honed_server.serving.fairness import Priority
from honed_server.serving.generations import Generation, GenerationTable, LoadedEncoder
from honed_server.serving.prediction_ids import PredictionIds
from honed_server.serving.recall import Recall
from honed_server.serving.reply import reply
from honed_server.serving.stream import answer_each
from honed_server.serving.tokenizer import Tokens

# Above this many bytes in one request tokenising would hold up the event loop for milliseconds.
_INLINE_BYTES = 16 * 1024
# Requests of one stream that are answered at the same time; more wait in the transport.
_STREAM_WINDOW = 64
_PRIORITIES = {pb.PRIORITY_BULK: Priority.BULK}

LogPredictions = Callable[[Sequence[tuple[str, Answer]]], None]


class InferenceService:
    """Answers Predict and PredictStream. Event loop only.

    Args:
        table: What serves.
        queue: Where rows wait for the engine.
        admission: Refuses what cannot be answered in time.
        executor: Tokenises large requests off the event loop.
        recall: Answers what was asked before.
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
        recall: Recall,
        missing: Callable[[str], ServingError],
        log_predictions: LogPredictions,
        default_deadline_s: float,
    ) -> None:
        self._table = table
        self._queue = queue
        self._admission = admission
        self._executor = executor
        self._recall = recall
        self._missing = missing
        self._log = log_predictions
        self._default_deadline_s = default_deadline_s
        self._ids = PredictionIds()

    async def predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:
        """Answers one request; see inference.proto for the errors."""
        response, named = reply(request, await self.outcomes(request, call), self._ids)
        if named:
            asyncio.get_running_loop().call_soon(self._log, named)  # after the answer is on its way
        return response

    async def outcomes(self, request: pb.PredictRequest, call: Call) -> list[Outcome]:
        """What `predict` finds, not named and not logged: for what the server itself asks."""
        generation = self._generation(request)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = _asked(request, call, done)
        rows = await self._rows(asked, list(request.texts), generation.loaded)
        if rows:
            await self._compute(asked, rows, generation.loaded, done)
        return [asked.outcomes[i] for i in range(asked.num_texts)]

    def predict_stream(
        self, requests: AsyncIterator[pb.PredictRequest], call: Call
    ) -> AsyncIterator[pb.PredictResponse]:
        """Answers each request of a stream as soon as it is ready."""

        async def answer(request: pb.PredictRequest) -> pb.PredictResponse:
            allowed_s = min(call.remaining_s(), self._default_deadline_s)
            try:
                return await self.predict(request, Call(monotonic() + allowed_s, call.peer))
            except ServingError as error:
                return pb.PredictResponse(request_id=request.request_id, error=error.to_status())

        return answer_each(requests, answer, _STREAM_WINDOW)

    def _generation(self, request: pb.PredictRequest) -> Generation:
        """The generation of the requested model, after checking the request as a whole."""
        validate.count(len(request.texts), "texts", validate.MAX_TEXTS)
        validate.identifier(request.request_id, "request_id")
        validate.identifier(request.tenant, "tenant")
        validate.top_k(request.top_k)
        generation = self._table.current.get(request.model)
        if generation is None:
            raise self._missing(request.model)
        return generation

    async def _rows(self, asked: Request, texts: list[str], loaded: LoadedEncoder) -> list[Row]:
        """Checks and tokenises each text; what has no outcome yet, fault or answer, is a row."""
        for i, text in enumerate(texts):
            if fault := validate.text_fault(text, f"texts[{i}]"):
                asked.settle(i, fault)
        good = [i for i in range(len(texts)) if i not in asked.outcomes]
        tokens = await self._tokenise(asked, [texts[i] for i in good], loaded)
        asked.admitted = monotonic()
        tokenizer, rows = loaded.tokenizer, []
        for i, one in zip(good, tokens, strict=True):
            if one.ids.size > tokenizer.special_tokens:
                rows.append(Row(asked, i, texts[i], one.ids, one.truncated, tokenizer.digest))
            else:
                asked.settle(i, validate.empty_text(f"texts[{i}]"))
        return await self._recall.settle(rows)

    async def _tokenise(
        self, asked: Request, texts: list[str], loaded: LoadedEncoder
    ) -> list[Tokens]:
        tokenise = loaded.tokenizer.tokenise
        if not texts:
            return []
        # What is refused shall have cost as little as can be; tokenising may take a core second.
        least = [loaded.tokenizer.special_tokens + 1] * len(texts)
        self._admission.check(asked, least, loaded.cost, monotonic())
        if sum(map(len, texts)) <= _INLINE_BYTES:
            return tokenise(texts)
        return await asyncio.get_running_loop().run_in_executor(self._executor, tokenise, texts)

    async def _compute(
        self, asked: Request, rows: list[Row], loaded: LoadedEncoder, done: asyncio.Future[None]
    ) -> None:
        """Admits the rows, waits for the engine, and gives up when the caller does."""
        sizes = [row.ids.size for row in rows]
        self._admission.admit(asked, sizes, loaded.cost, monotonic())
        try:
            self._queue.append(rows)
            # No timer: gRPC cancels the handler at the caller's deadline, and the engine fails rows
            # that it finds past theirs.
            await done
            if asked.deadline <= monotonic():
                raise DeadlinePassed("the deadline passed before the answer was computed")
        finally:
            asked.abandoned = True
            self._admission.release(sizes)


def _asked(request: pb.PredictRequest, call: Call, done: asyncio.Future[None]) -> Request:
    """The request as the queue knows it, without any rows yet."""

    def finish() -> None:
        if not done.done():  # the caller may have left
            done.set_result(None)

    return Request(
        model=request.model,
        num_texts=len(request.texts),
        top_k=request.top_k or 1,
        include_logits=request.include_logits or request.include_set,
        include_embedding=request.include_embedding,
        admitted=monotonic(),
        deadline=call.deadline,
        finish=finish,
        priority=_PRIORITIES.get(request.priority, Priority.INTERACTIVE),
        tenant=request.tenant,
    )
