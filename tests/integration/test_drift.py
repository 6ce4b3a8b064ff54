"""Alarms through the SDK: audited answers go wrong, or texts are not what they were."""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest
from journeys import ask_until, examples, taught, wait_for

from harness import RunningServer, running
from honed import Client, FeedbackItem, FeedbackKind, Prediction

HONEST = examples(slice(6))
WRONG = {
    "track": "refund",
    "refund": "broken",
    "broken": "price",
    "price": "stock",
    "stock": "track",
}
SETTINGS = {"example": False, "drift_interval_ms": 0, "embedding_cache_mb": 16}


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that looks at every text."""
    with running(tmp_path_factory.mktemp("drift"), **SETTINGS) as server:
        yield server


@pytest.fixture
def client(watching: RunningServer) -> Iterator[Client]:
    with watching.client() as client:
        yield client


def ask(client: Client, model: str, texts: list[str], count: int) -> list[Prediction]:
    asked = list(islice(cycle(texts), count))
    parts = [asked[start : start + 250] for start in range(0, count, 250)]
    return [answer for part in parts for answer in client.predict_many(model, part)]


def audit(
    client: Client, model: str, answers: list[Prediction], label: str | None, submitter: str = ""
) -> None:
    items = [
        FeedbackItem(one.text, label or one.label, FeedbackKind.AUDIT, one.prediction_id, submitter)
        for one in answers
    ]
    client.submit_many(model, items)


def test_texts_of_another_kind_raise_one_alarm(client, watching, name):
    taught(client, name, examples(slice(2)))
    usual = [text for text, _ in examples()]
    ask(client, name, usual, 1_500)
    assert client.get_model(name).drift.alarm == ""
    others = [text for text, _ in examples(slice(8), ["price"])]
    ask(client, name, others, 500)
    model = wait_for(client, name, lambda one: one.drift.alarm == "embedding")
    assert model.drift.alarms == 1
    assert model.drift.since is not None
    (decision,) = [d for d in client.list_decisions(name) if d.kind == "drift"]
    assert (decision.outcome, decision.actor) == ("alarm", "drift")
    assert "texts are not what they were" in decision.reason
    ask(client, name, others, 1_250)  # they are the usual ones now
    model = wait_for(client, name, lambda one: one.drift.alarm == "")
    assert model.drift.alarms == 1
    metrics = watching.server.metrics.render().decode()
    assert f'honed_drift_alarms_total{{alarm="embedding",model="{name}"}} 1.0' in metrics


def test_audits_in_quarantine_steer_nothing(client, name):
    """One who lies about answers raises an alarm, until the others' labels name them."""
    taught(client, name, HONEST, submitter="ann")
    usual = ask(client, name, [f"{text}, thanks" for text, _ in HONEST], 40)
    audit(client, name, usual, None, "ann")
    lies = ask(client, name, [f"{text}, please" for text, _ in HONEST[:60]], 60)
    for label, wrong in WRONG.items():
        audit(client, name, [one for one in lies if one.label == label], wrong, "eve")
    ask_until(lambda: "distrusted" in outcomes(client, name, "trust"))
    ask_until(lambda: outcomes(client, name, "drift") == ["alarm", "over"])
    model = client.get_model(name)
    assert (model.drift.alarm, model.drift.error, model.drift.window) == ("", 0.0, 40)
    assert (model.learning.audits, model.learning.audited_accuracy) == (40, 1.0)
    # What eve says from now on is not even looked at.
    audit(client, name, usual[:8], "nothing of this", "eve")
    assert client.get_model(name).learning.audits == 40


def outcomes(client: Client, model: str, kind: str) -> list[str]:
    return [d.outcome for d in client.list_decisions(model) if d.kind == kind]


def test_answers_that_go_wrong_raise_an_alarm_that_outlives_a_restart(tmp_path: Path):
    with running(tmp_path, **SETTINGS) as server, server.client() as client:
        taught(client, "m", examples(slice(2)))
        answers = ask(client, "m", [text for text, _ in examples()], 104)
        audit(client, "m", answers[:64], None)
        assert client.get_model("m").drift.window == 64
        with client.watch("m", timeout_s=30) as events:
            audit(client, "m", answers[64:], "nothing of this")
            raised = next(event for event in events if event.kind == "drift")
        assert raised.model.drift.alarm == "error"
        assert raised.model.drift.error > 0.5
        assert raised.model.learning.audits == 104
    with running(tmp_path, **SETTINGS, adapt=False) as server, server.client() as client:
        model = client.get_model("m")
        assert model.drift.alarm == "error"
        assert model.drift.alarms == 1
        assert model.drift.since == raised.model.drift.since
        assert model.learning.audits == 104
