"""Prediction streams: order, back-pressure, errors in place, and what a broken stream costs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from itertools import islice

import pytest

import honed
from clients.scripted import Fault, ScriptedServer, status
from clients.twins import twin
from honed import AsyncClient, Client, Prediction
from honed_proto.v1 import inference_pb2 as pb

DOWN = Fault(status("UNAVAILABLE", "stopping", "SHUTTING_DOWN"))
EMPTY = status("INVALID_ARGUMENT", "the text is empty", "EMPTY_TEXT")
TEXTS = [f"text {number}" for number in range(200)]


def reply(request: pb.PredictRequest) -> pb.PredictResponse:
    """Answers each text with itself as the label, and an empty one with an error."""
    (text,) = request.texts
    if not text:
        items = [pb.PredictItem(error=EMPTY)]
    else:
        scores = [pb.Score(label=text, probability=1)]
        items = [pb.PredictItem(prediction=pb.Prediction(scores=scores))]
    return pb.PredictResponse(request_id=request.request_id, items=items)


def replies(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
    return map(reply, requests)


def labels(outcomes: Iterable[Prediction | honed.HonedError]) -> list[str]:
    return [each.label if isinstance(each, Prediction) else each.reason for each in outcomes]


def test_answers_come_in_the_order_of_the_texts(server: ScriptedServer, client: Client) -> None:
    def backwards(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
        while several := list(islice(requests, 8)):
            yield from map(reply, reversed(several))

    server.on("Inference.PredictStream", backwards)
    assert labels(client.predict_stream("support", TEXTS, window=16)) == TEXTS


def test_the_error_of_a_text_takes_its_place(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.PredictStream", replies)
    texts = ["a", "", "\ud800", "b"]
    assert labels(client.predict_stream("support", texts)) == ["a", "EMPTY_TEXT", "BAD_TEXT", "b"]


def test_an_error_of_a_request_is_that_of_its_text(server: ScriptedServer, client: Client) -> None:
    missing = status("NOT_FOUND", "no such model", "MODEL_NOT_FOUND")

    def refuse(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
        for request in requests:
            yield pb.PredictResponse(request_id=request.request_id, error=missing)

    server.on("Inference.PredictStream", refuse)
    (error,) = client.predict_stream("nope", ["a"])
    assert isinstance(error, honed.NotFound)


def test_texts_are_never_read_further_ahead_than_the_window(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.PredictStream", replies)
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    for number, _ in enumerate(client.predict_stream("support", texts(), window=5)):
        assert len(read) <= number + 1 + 5
    assert read == TEXTS


def test_an_answer_does_not_wait_for_the_next_text(server: ScriptedServer) -> None:
    server.on("Inference.PredictStream", replies)
    answered = threading.Event()

    def texts() -> Iterator[str]:
        yield "first"
        assert answered.wait(10)
        yield "second"

    with Client(server.target) as client:
        outcomes = client.predict_stream("support", texts())
        assert labels([next(outcomes)]) == ["first"]
        answered.set()
        assert labels(outcomes) == ["second"]


async def _told_by_a_queue(target: str) -> list[str]:
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    texts.put_nowait("first")

    async def told() -> AsyncIterator[str]:
        while (text := await texts.get()) is not None:
            yield text

    seen = []
    async with AsyncClient(target) as client:
        async for outcome in client.predict_stream("support", told()):
            seen.extend(labels([outcome]))
            texts.put_nowait("second" if len(seen) == 1 else None)
    return seen


def test_texts_may_come_asynchronously(server: ScriptedServer) -> None:
    server.on("Inference.PredictStream", replies)
    assert asyncio.run(_told_by_a_queue(server.target)) == ["first", "second"]


def test_what_the_texts_raise_comes_after_the_answers(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.PredictStream", replies)

    def texts() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    outcomes = client.predict_stream("support", texts())
    assert labels([next(outcomes)]) == ["a"]
    with pytest.raises(LookupError, match="no more"):
        next(outcomes)


def test_a_stream_that_breaks_goes_on_where_it_was(server: ScriptedServer, client: Client) -> None:
    def some(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse | Fault]:
        for _ in range(50):
            yield reply(next(requests))
        yield DOWN

    server.on("Inference.PredictStream", some, some, replies)
    assert labels(client.predict_stream("support", TEXTS, window=8)) == TEXTS
    assert len(server.received) == 3


def test_a_stream_that_breaks_while_no_answer_is_due_is_opened_again(
    server: ScriptedServer,
) -> None:
    reopened = threading.Event()

    def quiet(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse | Fault]:
        yield reply(next(requests))
        server.released.wait(0.5)  # longer than an answer may take
        yield DOWN

    def again(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
        reopened.set()
        return replies(requests)

    def texts() -> Iterator[str]:
        yield "a"
        assert reopened.wait(10)
        yield "b"

    server.on("Inference.PredictStream", quiet, again)
    with Client(server.target) as client:
        assert labels(client.predict_stream("support", texts(), timeout_s=0.3)) == ["a", "b"]


def test_a_stream_that_never_answers_is_given_up_after_three_attempts(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.PredictStream", DOWN)
    with pytest.raises(honed.Unavailable):
        list(client.predict_stream("support", TEXTS))
    assert len(server.received) == 3


def test_a_flapping_server_is_not_hammered(server: ScriptedServer, client: Client) -> None:
    def one(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse | Fault]:
        yield reply(next(requests))
        yield DOWN

    server.on("Inference.PredictStream", one)
    with pytest.raises(honed.Unavailable):
        list(client.predict_stream("support", TEXTS))
    assert len(server.received) < 15  # of 200, each of which was worth a stream


def test_a_broken_stream_that_is_nobodys_absence_is_not_repeated(
    server: ScriptedServer, client: Client
) -> None:
    def fail(requests: Iterator[pb.PredictRequest]) -> Iterator[Fault]:
        next(requests)
        yield Fault(status("INTERNAL", "a bug", "INTERNAL"))

    server.on("Inference.PredictStream", fail)
    with pytest.raises(honed.ServerError, match="a bug"):
        list(client.predict_stream("support", ["a"]))
    assert len(server.received) == 1


def test_silence_is_an_error(server: ScriptedServer, client: Client) -> None:
    def nothing(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
        yield reply(next(requests))
        server.released.wait()

    server.on("Inference.PredictStream", nothing)
    outcomes = client.predict_stream("support", ["a", "b"], timeout_s=0.3)
    assert labels([next(outcomes)]) == ["a"]
    with pytest.raises(honed.DeadlineExceeded, match=r"for 0\.3 s"):
        next(outcomes)


@pytest.mark.usefixtures("no_thread_left")
def test_leaving_early_ends_the_stream_and_its_threads(
    server: ScriptedServer, client_kind: type[Client | AsyncClient]
) -> None:
    ended = threading.Event()

    def watched(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
        try:
            yield from map(reply, requests)
        finally:
            ended.set()

    server.on("Inference.PredictStream", watched)
    with (
        twin(client_kind, server.target) as client,
        closing(client.predict_stream("support", TEXTS, window=2)) as outcomes,
    ):
        next(outcomes)
    assert ended.wait(10)


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("honed-stream"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("wrong", [{"window": 0}, {"timeout_s": 0.0}])
def test_a_window_without_room_or_time_is_refused(wrong: dict[str, float]) -> None:
    with Client() as client, pytest.raises(ValueError, match="positive"):
        client.predict_stream("support", [], **wrong)


def test_asynchronous_texts_are_for_the_other_client() -> None:
    async def texts() -> AsyncIterator[str]:
        yield "a"

    with Client() as client, pytest.raises(TypeError, match="AsyncClient"):
        client.predict_stream("support", texts())
