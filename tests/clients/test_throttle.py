"""While a server refuses much, its clients send little more than it accepts, and notice its end."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import honed
from clients.scripted import Fault, ScriptedServer, status
from clients.twins import twin
from honed import AsyncClient, Client
from honed._throttle import HOLD_S, Throttle
from honed_proto.v1 import inference_pb2 as pb
from honed_proto.v1.feedback_pb2 import FeedbackAck, SubmitResponse, SubmitResult
from honed_proto.v1.models_pb2 import Model

QUEUE_FULL = status("RESOURCE_EXHAUSTED", "full", "QUEUE_FULL")
EXPIRED = status("DEADLINE_EXCEEDED", "late", "EXPIRED_IN_QUEUE")
DISK_FULL = status("RESOURCE_EXHAUSTED", "the disk is full", "DISK_FULL")
CALLS = 300
# Of CALLS that a server refuses: many more than a throttled client sends in a few seconds.
MANY = 100


class Simulation:
    """A client that asks a server at a steady rate, in a time of its own."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.throttle = Throttle(clock=lambda: self.now, draw=random.Random(seed).random)

    def run(self, seconds: float, asked_per_s: float, borne_per_s: float) -> tuple[float, float]:
        """How many requests a second were sent, and how many of them accepted."""
        sent = accepted = room = 0.0
        for _ in range(round(seconds * asked_per_s)):
            self.now += 1 / asked_per_s
            room = min(room + borne_per_s / asked_per_s, 5)
            if self.throttle.admits():
                taken = room >= 1
                room, sent, accepted = room - taken, sent + 1, accepted + taken
                self.throttle.note(taken)
        return sent / seconds, accepted / seconds


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50))))
def test_nothing_is_refused_while_all_is_accepted(waits: list[tuple[float, int]]) -> None:
    """However bursts are spread, and however many are under way at a time."""
    client = Simulation()
    for wait_s, burst in waits:
        client.now += wait_s
        assert all(client.throttle.admits() for _ in range(burst))
        for _ in range(burst):
            client.throttle.note(True)


@pytest.mark.parametrize("factor", [3, 10, 100])
def test_under_overload_twice_of_what_is_accepted_is_sent(factor: int) -> None:
    client = Simulation()
    client.run(5, factor * 100, 100)
    sent, accepted = client.run(20, factor * 100, 100)
    assert accepted == pytest.approx(100, rel=0.02)
    assert sent == pytest.approx(200, rel=0.1)


def test_a_bearable_excess_is_not_held_back() -> None:
    """What the server refuses up to half of, it can refuse itself."""
    sent, _ = Simulation().run(20, 150, 100)
    assert sent == pytest.approx(150, rel=0.01)


def test_it_reacts_within_two_seconds_and_recovers_within_three() -> None:
    client = Simulation()
    client.run(5, 1000, 2000)
    client.run(2, 1000, 100)
    assert client.run(1, 1000, 100)[0] < 400
    client.run(10, 1000, 100)
    client.run(3, 1000, 2000)
    assert client.run(1, 1000, 2000)[0] > 950


def test_a_server_that_takes_nothing_is_asked_now_and_then_and_its_return_noticed() -> None:
    client = Simulation()
    client.run(30, 1000, 0)
    assert 1 < client.run(30, 1000, 0)[0] < 4
    client.run(10, 1000, 2000)
    assert client.run(1, 1000, 2000)[0] == 1000


def test_who_asks_once_a_second_is_never_held_back() -> None:
    assert Simulation().run(100, 1, 0)[0] == 1


def answer(request: pb.PredictRequest) -> pb.PredictResponse:
    prediction = pb.Prediction(scores=[pb.Score(label="a", probability=1)])
    item = pb.PredictItem(prediction=prediction)
    return pb.PredictResponse(request_id=request.request_id, items=[item] * len(request.texts))


def outcomes(ask: Callable[[], Any], calls: int = CALLS) -> list[honed.HonedError]:
    """The errors of so many calls."""
    errors = []
    for _ in range(calls):
        try:
            ask()
        except honed.HonedError as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize(
    "refusal",
    [
        Fault(QUEUE_FULL),
        Fault(status("DEADLINE_EXCEEDED", "late", "DEADLINE_EXCEEDED")),
        Fault(QUEUE_FULL, bare=True),
        pb.PredictResponse(items=[pb.PredictItem(error=EXPIRED)]),
    ],
)
def test_a_client_that_is_refused_stops_asking(
    server: ScriptedServer, client: Client, refusal: Fault | pb.PredictResponse
) -> None:
    server.on("Inference.Predict", refusal)
    errors = outcomes(lambda: client.predict("support", "hello"))
    held_back = [error for error in errors if error.reason == "THROTTLED"]
    assert len(errors) == CALLS == len(held_back) + len(server.received)
    assert 2 <= len(server.received) < MANY
    error = held_back[0]
    assert (type(error), error.status) == (honed.Overloaded, "RESOURCE_EXHAUSTED")
    assert error.retry_after_s == 1
    assert "nothing was sent" in error.message
    assert server.target in error.message


@pytest.mark.parametrize(
    "fault",
    [
        DISK_FULL,
        status("INVALID_ARGUMENT", "no", "BAD"),
        status("NOT_FOUND", "no", "UNKNOWN_MODEL"),
    ],
)
def test_other_errors_hold_nothing_back(server: ScriptedServer, client: Client, fault: Any) -> None:
    server.on("Inference.Predict", Fault(fault))
    outcomes(lambda: client.predict("support", "hello"), 50)
    assert len(server.received) == 50


def test_a_call_of_which_some_texts_were_answered_was_accepted(
    server: ScriptedServer, client: Client
) -> None:
    items = [*answer(pb.PredictRequest(texts=["a"])).items, pb.PredictItem(error=EXPIRED)]
    server.on("Inference.Predict", pb.PredictResponse(items=items))
    assert outcomes(lambda: client.predict_many("support", ["a", "b"]), 50) == []


def test_only_predictions_are_held_back(server: ScriptedServer, client: Client) -> None:
    ack = SubmitResponse(results=[SubmitResult(ack=FeedbackAck(feedback_id="f1", position=7))])
    server.on("Inference.Predict", Fault(QUEUE_FULL))
    server.on("Feedback.Submit", ack)
    server.on("Models.Get", Model(name="support"))
    outcomes(lambda: client.predict("support", "hello"))
    for _ in range(20):
        assert client.submit(model="support", text="hello", label="a").position == 7
        assert client.get_model("support").name == "support"


def test_each_priority_and_tenant_is_held_back_by_itself(
    server: ScriptedServer, client: Client
) -> None:
    def refuse_one(request: pb.PredictRequest) -> Any:
        greedy = request.priority == pb.PRIORITY_BULK and request.tenant == "greedy"
        return Fault(QUEUE_FULL) if greedy else answer(request)

    server.on("Inference.Predict", refuse_one)
    for priority, tenant in [("bulk", "greedy"), ("bulk", "other"), ("interactive", "greedy")]:
        errors = outcomes(
            lambda p=priority, t=tenant: client.predict("m", "hello", priority=p, tenant=t), 60
        )
        assert len(errors) == (60 if (priority, tenant) == ("bulk", "greedy") else 0)
    assert len(server.received) < 60 + 120


def test_it_can_be_switched_off(
    server: ScriptedServer, client_kind: type[Client | AsyncClient]
) -> None:
    server.on("Inference.Predict", Fault(QUEUE_FULL))
    with twin(client_kind, server.target, throttle=False) as client:
        errors = outcomes(lambda: client.predict("support", "hello"))
    assert {error.reason for error in errors} == {"QUEUE_FULL"}
    assert len(server.received) == CALLS


def test_who_waits_as_hinted_is_answered_when_there_is_room_again(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.Predict", Fault(QUEUE_FULL))
    ask = partial(client.predict, "support", "hello")
    assert outcomes(ask, 12)
    server.on("Inference.Predict", answer)
    while errors := outcomes(ask, 20):
        time.sleep(errors[0].retry_after_s)
    assert len(server.received) > 20


def test_what_many_ask_together_is_held_back_too(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.Predict", Fault(QUEUE_FULL))
    with client.batched("support") as batch:
        errors = outcomes(lambda: batch.predict("hello"))
    assert {error.reason for error in errors} == {"QUEUE_FULL", "THROTTLED"}
    assert len(server.received) < MANY


def refuse_all(requests: Iterator[pb.PredictRequest]) -> Iterator[pb.PredictResponse]:
    for request in requests:
        yield pb.PredictResponse(request_id=request.request_id, error=QUEUE_FULL)


def test_a_refused_stream_slows_down_and_refuses_nothing_itself(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.PredictStream", refuse_all)
    began = time.monotonic()
    found = list(client.predict_stream("support", ["a"] * 16, window=1))
    assert [each.reason for each in found if isinstance(each, honed.HonedError)] == [
        "QUEUE_FULL"
    ] * 16
    assert time.monotonic() - began > 2 * HOLD_S  # at least: nothing but waiting takes so long


def test_streams_and_calls_are_held_back_together(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.PredictStream", refuse_all)
    server.on("Inference.Predict", Fault(QUEUE_FULL))
    list(client.predict_stream("support", ["a"] * 8))
    errors = outcomes(lambda: client.predict("support", "hello"), 30)
    assert "THROTTLED" in {error.reason for error in errors}


def test_a_stream_that_is_held_back_can_be_closed(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.PredictStream", refuse_all)
    with closing(client.predict_stream("support", repeat("a"))) as stream:
        assert len(list(islice(stream, 8))) == 8
    assert client.target == server.target
