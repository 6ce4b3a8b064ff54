"""What is kept of a text, and for how long; how much one submitter may send."""

import time

import pytest
from journeys import (
    TOLERANCE,
    answers,
    ask_until,
    distance,
    examples,
    files_holding,
    taught,
    teach,
    wait_for,
)

from harness import running
from honed import FeedbackItem, NotFound, Overloaded
from honed_server.feedback.retention import Retention

BASE = examples(slice(2))
TEXTS = [text for text, _ in examples(slice(6, 8))]
ADDRESS = "quentin.quill@example.org"


def test_texts_are_redacted_before_they_are_stored(tmp_path, capfd):
    home = tmp_path / "h"
    with (
        running(home, example=False, redact=["email", "card"]) as server,
        server.client() as client,
    ):
        taught(client, "m", BASE)
        answer = client.predict("m", f"where is my hat, I am {ADDRESS}")
        ask_until(lambda: files_holding(home, "where is my hat"))
        ack = client.submit(answer, label="track", wait=True)
        client.submit(model="m", text=f"{ADDRESS} paid by 4111 1111 1111 1111", label="price")
        client.import_anchor("m", [(f"send it to {ADDRESS}", "track")])
        texts = {record.feedback_id: record.text for record in client.list_feedback("m")}
        assert texts[ack.feedback_id] == "where is my hat, I am [email]"
        assert "[email] paid by [card]" in texts.values()
        # The SDK sends the same text again, or only the id: it is the same label.
        by_id = client.submit(model="m", text=answer.text, label="track", kind="audit")
        assert by_id.position > ack.position
        assert files_holding(home, ADDRESS) == files_holding(home, "4111") == []
        # What was answered was not redacted, so replaying needs the text.
        assert client.replay(answer.prediction_id, text=answer.text).matches
        client.delete("m", [ack.feedback_id])
        assert files_holding(home, "where is my hat, I am [email]") != []  # the audit's own
    output = "".join(capfd.readouterr())
    assert ADDRESS not in output
    assert "where is my hat" not in output


def test_texts_of_labels_go_after_their_time_and_labels_stay(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        teach(client, "m", [("Quentin wants his hat", "track"), (TEXTS[0], "price")])
        teach(client, "m", [(TEXTS[0], "stock")])
        before = answers(client, "m", TEXTS)
        answered = client.predict("m", TEXTS[1])
        log, now = server.server.catalogue.log, time.time()
        logged = server.server.predictions

        def blank_after(days: float) -> int:
            later = now + days * 86_400
            return server.run(Retention(log, logged, 7, clock=lambda: later).blank())

        assert blank_after(6) == 0
        blanked = blank_after(8)
        assert blanked == len(BASE) + 3
        assert files_holding(home, "Quentin wants") == []
        records = list(client.list_feedback("m"))
        assert {(record.text, record.state) for record in records} == {("", "active")}
        assert records[-1].label == "stock"
        assert client.replay(answered.prediction_id).matches
    with running(home, example=False, keep_feedback_days=7) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.revision >= one.log_position)
        teach(client, "m", [(TEXTS[0], "stock")])  # so the lane was built from what is left
        assert distance(answers(client, "m", TEXTS), before) < TOLERANCE


def test_answers_go_after_their_time_without_any_traffic(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        answered = client.predict("m", "where is Quentin's hat")
        ask_until(lambda: files_holding(home, "Quentin's hat"))
        log, logged, now = server.server.catalogue.log, server.server.predictions, time.time()

        def prune_after(days: float) -> int:
            later = now + days * 86_400
            return server.run(Retention(log, logged, None, clock=lambda: later).prune())

        assert prune_after(6) == 0
        assert files_holding(home, "Quentin's hat")
        assert prune_after(8) == 1
        assert files_holding(home, "Quentin's hat") == []
        with pytest.raises(NotFound) as caught:
            client.replay(answered.prediction_id)
        assert caught.value.reason == "UNKNOWN_PREDICTION"
        client.predict("m", "where is Quentin's coat")
        ask_until(lambda: files_holding(home, "Quentin's coat"))
    with running(home, example=False, prediction_log_days=1e-9):
        ask_until(lambda: files_holding(home, "Quentin's coat") == [])


def test_a_submitter_may_send_so_many_labels_a_minute(tmp_path):
    limited = running(tmp_path / "h", example=False, labels_per_minute=20)
    with limited as server, server.client() as client:
        client.create_model("m")
        client.submit_many("m", items_of("ann", 15))
        with pytest.raises(Overloaded) as caught:
            client.submit_many("m", items_of("ann", 6))
        assert caught.value.reason == "SUBMITTER_RATE"
        assert 0 < caught.value.retry_after_s <= 3
        assert len(list(client.list_feedback("m"))) == 15  # nothing of it was recorded
        assert len(client.submit_many("m", items_of("bob", 20))) == 20


def items_of(submitter: str, number: int) -> list[FeedbackItem]:
    return [FeedbackItem(f"text {n}", "track", submitter=submitter) for n in range(number)]
