"""The load client's own connection speaks to a real gRPC server as any gRPC client does."""

import select
import time

import pytest

from clients.scripted import Fault, ScriptedServer, status
from honed_loadtest.calls import Calls, StreamedCalls, UnaryCalls
from honed_loadtest.http2 import Connection
from honed_proto.v1 import inference_pb2 as pb

# More than the windows and frames that either side starts with.
LARGE = "x" * 1_000_000


@pytest.fixture
def server():
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def connection(server):
    connection = Connection(server.target, connect_s=5)
    yield connection
    connection.close()


def request(text):
    return pb.PredictRequest(model="m", texts=[text]).SerializeToString()


def ended(connection, calls: Calls, count):
    """The first so many requests that end: number to status and reply."""
    found = {}
    while len(found) < count:
        assert select.select([connection], [], [], 30)[0], "nothing came for half a minute"
        for number, code, reply in calls.receive():
            found[number] = (code, pb.PredictResponse.FromString(reply))
    return found


def echo(request):
    return pb.PredictResponse(request_id=request.texts[0])


def test_messages_of_any_size_go_both_ways_side_by_side(server, connection):
    server.on("Inference.Predict", echo)
    calls = UnaryCalls(connection, timeout_s=30)
    texts = {calls.send(request(text)): text for text in ("a", LARGE, "b" * 40_000, "c", LARGE)}
    found = ended(connection, calls, len(texts))
    assert {number: reply.request_id for number, (_, reply) in found.items()} == texts
    assert {code for code, _ in found.values()} == {0}


def test_a_call_ends_with_the_status_that_the_server_gave(server, connection):
    server.on("Inference.Predict", Fault(status("RESOURCE_EXHAUSTED", "full " * 100, "QUEUE")))
    calls = UnaryCalls(connection, timeout_s=30)
    number = calls.send(request("a"))
    assert ended(connection, calls, 1)[number][0] == 8


def test_the_server_is_told_the_deadline(server, connection):
    server.on("Inference.Predict", echo)
    calls = UnaryCalls(connection, timeout_s=7.5)
    calls.send(request("a"))
    ended(connection, calls, 1)
    (call,) = server.received
    assert 5 < call.time_left_s <= 7.5


def test_a_call_that_was_given_up_is_not_heard_of_again(server, connection):
    def slowly(request):
        time.sleep(0.2)
        return echo(request)

    server.on("Inference.Predict", slowly, echo)
    calls = UnaryCalls(connection, timeout_s=30)
    calls.give_up(calls.send(request("a")))
    later = calls.send(request("b"))
    assert set(ended(connection, calls, 1)) == {later}


def test_answers_of_a_stream_find_their_requests_in_any_order(server, connection):
    def backwards(requests):
        pair = [next(requests), next(requests)]
        for each in reversed(pair):
            yield pb.PredictResponse(
                request_id=each.request_id,
                items=[pb.PredictItem(prediction=pb.Prediction(model=each.texts[0]))],
            )

    server.on("Inference.PredictStream", backwards)
    calls = StreamedCalls(connection)
    texts = {calls.send(request(text)): text for text in ("a", LARGE)}
    found = ended(connection, calls, 2)
    assert {n: reply.items[0].prediction.model for n, (_, reply) in found.items()} == texts


def test_requests_that_wait_on_a_stream_end_with_it(server, connection):
    def fail(requests):
        next(requests)
        yield Fault(status("UNAVAILABLE", "going"))

    server.on("Inference.PredictStream", fail)
    calls = StreamedCalls(connection)
    number = calls.send(request("a"))
    assert ended(connection, calls, 1)[number][0] == 14


def test_a_connection_that_the_server_ends_is_an_error(server, connection):
    calls = UnaryCalls(connection, timeout_s=30)
    server.stop()
    with pytest.raises(ConnectionError):
        ended(connection, calls, 1)
