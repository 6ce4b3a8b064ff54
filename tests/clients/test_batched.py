"""Automatic batching: many callers, few calls, and each caller gets its own answer or error."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import honed
from clients.scripted import Fault, ScriptedServer, status
from honed import AsyncClient, Client, HonedError
from honed_proto.v1 import inference_pb2 as pb

EMPTY = status("INVALID_ARGUMENT", "the text is empty", "EMPTY_TEXT")
TEXTS = [f"text {number}" for number in range(40)]

Outcomes = list[Any]
Ask = Callable[..., Outcomes]


def reply(request: pb.PredictRequest) -> pb.PredictResponse:
    """Answers each text with itself as the label, and an empty one with an error."""
    return pb.PredictResponse(
        items=[
            pb.PredictItem(prediction=pb.Prediction(scores=[pb.Score(label=text, probability=1)]))
            if text
            else pb.PredictItem(error=EMPTY)
            for text in request.texts
        ]
    )


def ask_by_threads(target: str, texts: Sequence[str], **options: Any) -> Outcomes:
    """What each caller got, all asking at once, from threads."""

    def one(text: str) -> Any:
        try:
            return batch.predict(text).label
        except (HonedError, UnicodeEncodeError) as error:
            return error

    with (
        Client(target) as client,
        client.batched("support", **options) as batch,
        ThreadPoolExecutor(len(texts)) as pool,
    ):
        return list(pool.map(one, texts))


def ask_by_tasks(target: str, texts: Sequence[str], **options: Any) -> Outcomes:
    """What each caller got, all asking at once, from tasks."""

    async def ask() -> Outcomes:
        async with AsyncClient(target) as client, client.batched("support", **options) as batch:
            asked = [batch.predict(text) for text in texts]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        return [each.label if isinstance(each, honed.Prediction) else each for each in outcomes]

    return asyncio.run(ask())


@pytest.fixture(params=[ask_by_threads, ask_by_tasks])
def ask(request: pytest.FixtureRequest) -> Ask:
    ask: Ask = request.param
    return ask


@pytest.fixture
def gate(server: ScriptedServer) -> Iterator[threading.Event]:
    """The first call is answered when this is set, all others at once."""
    gate = threading.Event()

    def late(request: pb.PredictRequest) -> pb.PredictResponse:
        assert gate.wait(10)
        return reply(request)

    server.on("Inference.Predict", late, reply)
    yield gate
    gate.set()


def sizes(server: ScriptedServer) -> list[int]:
    return [len(request.texts) for request in server.requests("Inference.Predict")]


def test_each_caller_gets_its_own_answer(server: ScriptedServer, ask: Ask) -> None:
    server.on("Inference.Predict", reply)
    assert ask(server.target, TEXTS) == TEXTS


def test_texts_gather_while_a_call_is_under_way(
    server: ScriptedServer, gate: threading.Event, ask: Ask
) -> None:
    opener = threading.Timer(0.3, gate.set)
    opener.start()
    assert ask(server.target, TEXTS, max_wait_s=10) == TEXTS
    assert sum(sizes(server)) == len(TEXTS)
    # The first alone, most others when it returned; on a busy machine some threads come later.
    assert max(sizes(server)) > len(TEXTS) / 2
    assert len(sizes(server)) < len(TEXTS) / 4
    opener.join()


def test_a_full_batch_does_not_wait_for_the_call_under_way(
    server: ScriptedServer, gate: threading.Event, ask: Ask
) -> None:
    opener = threading.Timer(0.3, gate.set)
    opener.start()
    assert ask(server.target, TEXTS, max_texts=13, max_wait_s=10) == TEXTS
    assert max(sizes(server)) == 13
    opener.join()


def test_a_text_waits_no_longer_than_asked(server: ScriptedServer) -> None:
    reached, gate = threading.Event(), threading.Event()

    def late(request: pb.PredictRequest) -> pb.PredictResponse:
        reached.set()
        assert gate.wait(10)
        return reply(request)

    server.on("Inference.Predict", late, reply)
    with Client(server.target) as client, ThreadPoolExecutor(1) as pool:
        batch = client.batched("support", max_wait_s=0.01)
        stuck = pool.submit(batch.predict, "first")
        assert reached.wait(10)
        assert batch.predict("second").label == "second"  # though the first call has no answer
        gate.set()
        assert stuck.result().label == "first"
        batch.close()


def test_an_error_reaches_only_its_caller(server: ScriptedServer, ask: Ask) -> None:
    server.on("Inference.Predict", reply)
    first, empty, broken, last = ask(server.target, ["a", "", "\ud800", "b"])
    assert (first, last) == ("a", "b")
    assert isinstance(empty, honed.InvalidRequest)
    assert isinstance(broken, UnicodeEncodeError)


def test_a_call_that_fails_fails_for_each_as_an_error_of_its_own(
    server: ScriptedServer, ask: Ask
) -> None:
    server.on("Inference.Predict", Fault(status("NOT_FOUND", "no such model", "MODEL_NOT_FOUND")))
    errors = ask(server.target, TEXTS[:5])
    assert {type(error) for error in errors} == {honed.NotFound}
    assert {error.reason for error in errors} == {"MODEL_NOT_FOUND"}
    assert len(set(map(id, errors))) == 5


def test_a_server_that_miscounts_harms_nobody_for_ever(server: ScriptedServer, ask: Ask) -> None:
    server.on("Inference.Predict", pb.PredictResponse())
    (error,) = ask(server.target, ["a"])
    assert isinstance(error, honed.ServerError)


def test_a_very_long_text_travels_alone(
    server: ScriptedServer, gate: threading.Event, ask: Ask
) -> None:
    opener = threading.Timer(0.3, gate.set)
    opener.start()
    long = "x" * 2_000_000
    texts = ["first", "short", long, "shorter"]
    assert ask(server.target, texts, max_wait_s=10) == texts
    assert [long] in [request.texts for request in server.requests("Inference.Predict")]
    opener.join()


def test_a_caller_who_leaves_takes_nothing_with_him(
    server: ScriptedServer, gate: threading.Event
) -> None:
    async def ask() -> list[str]:
        async with AsyncClient(server.target) as client, client.batched("support") as batch:
            tasks = [asyncio.create_task(batch.predict(text)) for text in ("a", "b", "c")]
            await asyncio.sleep(0.05)
            tasks[0].cancel()
            gate.set()
            return [(await task).label for task in tasks[1:]]

    assert asyncio.run(ask()) == ["b", "c"]


def test_nothing_is_taken_after_closing(server: ScriptedServer) -> None:
    with Client(server.target) as client:
        with client.batched("support") as batch:
            pass
        with pytest.raises(ValueError, match="closed"):
            batch.predict("late")


def test_a_closed_client_answers_with_an_error(server: ScriptedServer) -> None:
    client = Client(server.target)
    batch = client.batched("support")
    client.close()
    with pytest.raises(honed.Unavailable, match="closed"):
        batch.predict("late")


@pytest.mark.parametrize(
    "wrong", [{"max_texts": 0}, {"max_texts": 257}, {"max_wait_s": -1}, {"top_k": -1}]
)
def test_limits_without_sense_are_refused(client: Client, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"max_|-1"):
        client.batched("support", **wrong)
