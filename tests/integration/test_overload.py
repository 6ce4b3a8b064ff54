"""More than the engine can do: refused early, dropped when nobody waits, others do not suffer."""

import csv
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic

import grpc
import numpy as np
import pytest
from journeys import TOLERANCE, metric, teach, trainer
from swap_oracle import HIDDEN, make_encoder

from harness import RunningServer, running
from honed import Client, HonedError
from honed._status import error_from_call, error_from_status
from honed_adapt import messages
from honed_adapt.head import Head
from honed_proto.v1 import inference_pb2 as pb

pytestmark = pytest.mark.timeout(120)

MODEL = "m"
LONG = "where is the parcel that I ordered " * 60  # 256 tokens after the cut
STREAM = "/honed.v1.Inference/PredictStream"


@contextmanager
def teachless(home: Path, hidden: int = 384, **settings) -> Iterator[RunningServer]:
    """A server with one worker whose model got its head from the offer door."""
    with running(home, example=False, adapt=False, workers=1, **settings) as server:
        with server.client() as client, trainer(home) as door:
            client.create_model(MODEL)
            weight = np.random.default_rng(0).normal(size=(5, hidden)).astype(np.float32)
            head = Head(tuple("abcde"), weight, np.zeros(5, np.float32), 1.0)
            verdict = door.offer(messages.Revision(MODEL, 1, 1, head, 1, 0, 0, 0))
            assert verdict.outcome == "accepted", verdict
        yield server


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    """The real encoder: a long text costs it a twentieth of a second and more."""
    limits = {"max_queued_requests": 4, "max_queued_tokens": 12_000}
    with teachless(tmp_path / "h", **limits) as server:
        yield server


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A tiny encoder, so that the way to it is what is tested."""
    folder = tmp_path_factory.mktemp("quick")
    make_encoder(folder / "other", folder, 0)
    with teachless(folder / "h", HIDDEN, encoder=folder / "encoder-0") as server:
        yield server


def reached(server: RunningServer, name: str, value: float, timeout_s: float = 20) -> None:
    """Returns when a series has the value."""
    deadline = monotonic() + timeout_s
    while (found := metric(server.server.http_port, name)) != value:
        assert monotonic() < deadline, f"{name} is {found}, not {value}"


class Callers:
    """Calls that wait for their answer, each in a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(8)
        self.calls = []

    def ask(self, texts: int) -> None:
        ask = self._client.predict_many
        self.calls.append(self._pool.submit(ask, MODEL, [LONG] * texts, timeout_s=60))

    def all_answered(self) -> bool:
        self._pool.shutdown()
        return all(answer.label for call in self.calls for answer in call.result())


def refusal(client: Client, texts: int, timeout_s: float = 60) -> HonedError:
    with pytest.raises(HonedError) as caught:
        client.predict_many(MODEL, [LONG] * texts, timeout_s=timeout_s)
    return caught.value


def test_a_full_queue_refuses_at_once_and_keeps_its_promises(slow):
    with slow.client() as client:
        callers = Callers(client)
        for _ in range(4):
            callers.ask(8)
        reached(slow, "honed_queued_tokens", 4 * 8 * 256)
        error = refusal(client, 1)
        assert (error.status, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert error.retry_after_s > 0
        assert callers.all_answered()
        reached(slow, "honed_queued_tokens", 0)
        assert client.predict(MODEL, "hello").label


def test_the_queue_is_bounded_by_tokens_too(slow):
    with slow.client() as client:
        callers = Callers(client)
        callers.ask(20)
        reached(slow, "honed_queued_tokens", 20 * 256)
        error = refusal(client, 40)
        assert (error.status, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_TOKENS")
        assert error.retry_after_s > 0
        assert client.predict(MODEL, "hello", timeout_s=60).label
        assert callers.all_answered()


def test_a_deadline_that_the_backlog_makes_unreachable_is_refused_on_arrival(slow):
    with slow.client() as client:
        client.predict_many(MODEL, [LONG] * 4)  # now the engine's speed is known
        before = metric(slow.server.http_port, "honed_batch_texts_sum")
        callers = Callers(client)
        callers.ask(40)
        reached(slow, "honed_queued_tokens", 40 * 256)
        error = refusal(client, 1, timeout_s=0.15)
        assert (error.status, error.reason) in [
            ("RESOURCE_EXHAUSTED", "DEADLINE_UNMEETABLE"),
            ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        ]
        assert callers.all_answered()
        assert metric(slow.server.http_port, "honed_batch_texts_sum") == before + 40


def test_texts_whose_caller_has_left_are_not_computed(slow):
    with slow.client() as client:
        callers = Callers(client)
        callers.ask(20)
        reached(slow, "honed_queued_tokens", 20 * 256)
        # Before the first batch nothing is known of the engine's speed: then it is admitted, and
        # expires in the queue; afterwards it is refused.
        error = refusal(client, 20, timeout_s=0.1)
        assert error.reason in ("DEADLINE_EXCEEDED", "EXPIRED_IN_QUEUE", "DEADLINE_UNMEETABLE")
        assert callers.all_answered()
        reached(slow, "honed_queued_tokens", 0)
        assert metric(slow.server.http_port, "honed_batch_texts_sum") == 20


def test_cancelled_calls_leave_the_queue(slow):
    request = pb.PredictRequest(model=MODEL, texts=[LONG] * 10).SerializeToString()
    with grpc.insecure_channel(slow.target) as channel, slow.client() as client:
        predict = channel.unary_unary("/honed.v1.Inference/Predict")
        calls = [predict.future(request, timeout=60) for _ in range(4)]
        reached(slow, "honed_queued_tokens", 4 * 10 * 256)
        for call in calls:
            call.cancel()
        reached(slow, "honed_queued_tokens", 0)
        assert client.predict(MODEL, "hello", timeout_s=60).label
        assert metric(slow.server.http_port, "honed_batch_texts_sum") < 20  # of 41


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


def support_texts(count: int) -> list[tuple[str, str]]:
    path = Path(__file__).parents[2] / "examples" / "support" / "train.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return random.Random(5).sample(rows, count)


def test_whoever_else_asks_a_text_gets_the_answer_it_gets_alone(server, client, name):
    """Rows of many callers and two models share batches; each finds its own way home."""
    pairs = support_texts(100)
    models = {
        name: pairs[:50],
        f"{name}-2": [(text, f"other {label}") for text, label in pairs[50:]],
    }
    for model, taught in models.items():
        client.create_model(model)
        teach(client, model, taught)
    texts = [text for text, _ in pairs] + ["ok", LONG, *(f"{t} {t} {t}" for t, _ in pairs[:10])]
    alone = {
        (model, text): client.predict(model, text, top_k=1000) for model in models for text in texts
    }

    def worst(seed: int) -> float:
        choose, difference = random.Random(seed), 0.0
        for _ in range(12):
            model = choose.choice(list(models))
            asked = choose.choices(texts, k=choose.choice((1, 2, 5, 13)))
            answers = client.predict_many(model, asked, top_k=1000)
            for text, answer in zip(asked, answers, strict=True):
                expected = alone[model, text]
                assert (answer.text, answer.model, answer.label) == (text, model, expected.label)
                shares = {score.label: score.probability for score in answer.scores}
                difference = max(
                    difference,
                    *(abs(shares[s.label] - s.probability) for s in expected.scores),
                )
        return difference

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(worst, seed) for seed in range(4)]
        wait(callers)
    assert max(caller.result() for caller in callers) < TOLERANCE
