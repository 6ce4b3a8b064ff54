"""Deadlines and retries: which calls are repeated, with what, and for how long."""

import asyncio
import threading

import pytest

import honed
from clients.scripted import Fault, ScriptedServer, status
from honed import AsyncClient, Client
from honed_proto.v1.feedback_pb2 import FeedbackAck, SubmitResponse, SubmitResult
from honed_proto.v1.inference_pb2 import Prediction, PredictItem, PredictResponse, Score
from honed_proto.v1.models_pb2 import Model, ModelEvent

DOWN = Fault(status("UNAVAILABLE", "stopping", "SHUTTING_DOWN"))
ANSWER = PredictResponse(
    items=[PredictItem(prediction=Prediction(scores=[Score(label="a", probability=1)]))]
)


def test_a_submission_is_repeated_with_the_same_key(server: ScriptedServer, client: Client) -> None:
    ack = SubmitResponse(results=[SubmitResult(ack=FeedbackAck(feedback_id="f1", position=7))])
    server.on("Feedback.Submit", DOWN, DOWN, ack)
    assert client.submit(model="support", text="hello", label="greet").position == 7
    first, *others = server.requests("Feedback.Submit")
    assert first.items[0].idempotency_key
    assert others == [first, first]


def test_two_submissions_have_two_keys(server: ScriptedServer, client: Client) -> None:
    ack = SubmitResponse(results=[SubmitResult(ack=FeedbackAck(feedback_id="f1", position=7))])
    server.on("Feedback.Submit", ack)
    for _ in range(2):
        client.submit(model="support", text="hello", label="greet")
    keys = {request.items[0].idempotency_key for request in server.requests("Feedback.Submit")}
    assert len(keys) == 2


def test_a_large_request_is_repeated_too(server: ScriptedServer, client: Client) -> None:
    text = "word " * 13_000
    items = PredictResponse(items=list(ANSWER.items) * 32)
    server.on("Inference.Predict", DOWN, items)
    assert len(client.predict_many("support", [text] * 32)) == 32  # 2 MB
    assert len(server.requests("Inference.Predict")) == 2


def test_it_gives_up_after_three_attempts(server: ScriptedServer, client: Client) -> None:
    server.on("Models.Get", DOWN)
    with pytest.raises(honed.Unavailable, match="stopping"):
        client.get_model("support")
    assert len(server.received) == 3


def test_a_server_that_stays_away_is_asked_ever_less(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Models.Get", DOWN)
    for _ in range(20):
        with pytest.raises(honed.Unavailable):
            client.get_model("support")
    assert 20 <= len(server.received) <= 20 + 10  # and not 60: the retry budget is spent


def test_overload_is_never_repeated(server: ScriptedServer, client: Client) -> None:
    server.on(
        "Inference.Predict", Fault(status("RESOURCE_EXHAUSTED", "full", "QUEUE_FULL")), ANSWER
    )
    with pytest.raises(honed.Overloaded):
        client.predict("support", "hello")
    assert len(server.received) == 1


def test_what_is_not_safe_is_not_repeated(server: ScriptedServer, client: Client) -> None:
    server.on("Models.Rollback", DOWN, Model(name="support"))
    with pytest.raises(honed.Unavailable):
        client.rollback("support")
    assert len(server.received) == 1


def test_every_call_has_a_deadline(server: ScriptedServer, client: Client) -> None:
    server.on("Models.Get", Model(name="support"))
    client.get_model("support")
    client.get_model("support", timeout_s=100)
    default, own = (call.time_left_s for call in server.received)
    assert default < 20
    assert 20 < own < 200


def test_a_late_answer_is_an_error_that_names_the_deadline(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.Predict", server.stall)
    with pytest.raises(honed.DeadlineExceeded, match=r"within 0\.2 s"):
        client.predict("support", "hello", timeout_s=0.2)


def test_a_client_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Client(timeout_s=0)


def test_the_target_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONED_TARGET", "10.0.0.7:9")
    with Client() as one, Client("10.0.0.8:9") as other:
        assert (one.target, other.target) == ("10.0.0.7:9", "10.0.0.8:9")
    monkeypatch.delenv("HONED_TARGET")
    with Client() as client:
        assert client.target == "127.0.0.1:8790"


EVENTS = (
    ModelEvent(kind=ModelEvent.KIND_SNAPSHOT, model=Model(name="support", version=1)),
    ModelEvent(kind=ModelEvent.KIND_REVISION, model=Model(name="support", revision=5)),
)


def test_a_watch_ends_when_another_thread_closes_it(server: ScriptedServer) -> None:
    server.on("Models.Watch", EVENTS)
    with Client(server.target) as client, client.watch("support") as watch:
        assert next(watch).kind == "snapshot"
        assert next(watch).model.revision == 5
        closer = threading.Timer(0.05, watch.close)
        closer.start()
        assert list(watch) == []
        closer.join()


async def _watch_until_another_task_closes(target: str) -> list[str]:
    async with AsyncClient(target) as client, client.watch("support") as watch:
        kinds = [(await anext(watch)).kind, (await anext(watch)).kind]
        asyncio.get_running_loop().call_later(0.05, asyncio.create_task, watch.close())
        return kinds + [event.kind async for event in watch]


def test_a_watch_ends_when_another_task_closes_it(server: ScriptedServer) -> None:
    server.on("Models.Watch", EVENTS)
    assert asyncio.run(_watch_until_another_task_closes(server.target)) == ["snapshot", "revision"]


def test_a_watch_that_breaks_says_so(server: ScriptedServer, client: Client) -> None:
    server.on("Models.Watch", Fault(status("NOT_FOUND", "no such model", "MODEL_NOT_FOUND")))
    with client.watch("nope") as watch, pytest.raises(honed.NotFound):
        next(watch)
