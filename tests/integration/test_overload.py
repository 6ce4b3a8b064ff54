"""More than the engine can do: refused early, dropped when nobody waits, others do not suffer."""

import csv
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import grpc
import pytest
from door_taught import MODEL, offered, reached
from journeys import TOLERANCE, metric, teach

from harness import RunningServer
from honed import Client, HonedError
from honed_proto.v1 import inference_pb2 as pb

pytestmark = pytest.mark.timeout(120)

LONG = "where is the parcel that I ordered " * 60  # 256 tokens after the cut


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    """The real encoder: a long text costs it a twentieth of a second and more."""
    limits = {"max_queued_requests": 4, "max_queued_tokens": 12_000}
    with offered(tmp_path / "h", **limits) as server:
        yield server


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
