"""One stream, many questions: each is answered by itself, and nobody has to wait for a sluggard."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from threading import Event

import grpc
import pytest
from door_taught import MODEL, offered, reached
from journeys import metric
from swap_oracle import HIDDEN, make_encoder

from harness import RunningServer
from honed._status import error_from_call, error_from_status
from honed_proto.v1 import inference_pb2 as pb

pytestmark = pytest.mark.timeout(120)

STREAM = "/honed.v1.Inference/PredictStream"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A tiny encoder, so that the way to it is what is tested."""
    folder = tmp_path_factory.mktemp("quick")
    make_encoder(folder / "other", folder, 0)
    with offered(folder / "h", HIDDEN, encoder=folder / "encoder-0") as server:
        yield server


class Stream:
    """One PredictStream, sent and read by hand."""

    def __init__(self, server: RunningServer) -> None:
        self._target = server.target
        # Little fits into the connection, so that what the server holds back shows soon.
        window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
        self._channel = grpc.insecure_channel(server.target, options=window)
        self._call = self._channel.stream_stream(
            STREAM, response_deserializer=pb.PredictResponse.FromString
        )

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def open(self, requests):
        """The running call; requests are messages or raw bytes."""
        raw = (r if isinstance(r, bytes) else r.SerializeToString() for r in requests)
        return self._call(raw, timeout=60)

    def answers(self, requests) -> dict[str, pb.PredictResponse]:
        """All answers by request id; each came once."""
        responses = list(self.open(requests))
        counted = Counter(response.request_id for response in responses)
        assert set(counted.values()) == {1}
        return {response.request_id: response for response in responses}


def question(name: object, texts: int = 1, model: str = MODEL, **fields) -> pb.PredictRequest:
    return pb.PredictRequest(request_id=str(name), model=model, texts=["word"] * texts, **fields)


def test_every_question_of_a_stream_gets_its_own_answer(quick):
    with Stream(quick) as stream:
        sizes = {str(n): 1 + n % 7 for n in range(300)}
        answers = stream.answers(question(n, texts) for n, texts in sizes.items())
    assert {name: len(answer.items) for name, answer in answers.items()} == sizes


def test_a_wrong_question_does_not_end_a_stream(quick):
    with Stream(quick) as stream:
        answers = stream.answers(
            [
                question("first"),
                question("unknown", model="zebra"),
                question("nothing", texts=0),
                pb.PredictRequest(request_id="empty", model=MODEL, texts=["", "word"]),
                question("last"),
            ]
        )
    errors = {name: error_from_status(answers[name].error) for name in ("unknown", "nothing")}
    assert {name: error.reason for name, error in errors.items()} == {
        "unknown": "UNKNOWN_MODEL",
        "nothing": "BAD_COUNT",
    }
    found = [item.WhichOneof("result") for item in answers["empty"].items]
    assert found == ["error", "prediction"]
    assert all(answers[name].items[0].prediction.scores for name in ("first", "last"))


def test_bytes_that_are_no_question_end_the_stream_and_nothing_else(quick):
    with Stream(quick) as stream:
        call = stream.open([question("good"), b"\xff\xff"])
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        error = error_from_call(caught.value, quick.target, None)
        assert (error.status, error.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
        assert stream.answers([question("again")])
    reached(quick, "honed_queued_tokens", 0)


def test_a_client_that_does_not_read_is_not_answered_further(quick):
    """Answers wait in the transport, and in the window, and then no question is read."""
    questions, texts = 200, 100
    computed = partial(metric, quick.server.http_port, "honed_batch_texts_sum")
    with Stream(quick) as stream, quick.client() as client:
        before = computed()
        call = stream.open(
            question(n, texts, include_embedding=True, top_k=5) for n in range(questions)
        )
        for _ in range(100):
            assert client.predict(MODEL, "word").label  # nobody else is held up
        reached(quick, "honed_queued_tokens", 0)
        assert computed() - before < questions * texts / 2  # the window is 64
        assert sum(len(answer.items) for answer in call) == questions * texts


def test_a_client_that_leaves_a_stream_leaves_nothing_behind(quick):
    go_on = Event()

    def questions():
        for n in range(100):
            yield question(n, texts=100)
        go_on.wait(20)

    before = cancelled(quick)
    with Stream(quick) as stream, quick.client() as client:
        call = stream.open(questions())
        next(call)
        call.cancel()
        go_on.set()
        reached(quick, "honed_queued_tokens", 0)
        assert client.predict(MODEL, "word").label
    assert cancelled(quick) == before + 1


def cancelled(server: RunningServer) -> float:
    """Streams that ended because the client left, counted by the server."""
    series = {"method": "PredictStream", "code": "CANCELLED"}
    registry = server.server.metrics.registry
    return registry.get_sample_value("honed_requests_total", series) or 0.0
