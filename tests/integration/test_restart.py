"""Stops of every kind: what was acknowledged is kept, what was learned is served again."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import sleep

import psutil
import pytest
from journeys import (
    answers,
    ask_until,
    caught_up,
    distance,
    examples,
    fresh_lane,
    held,
    logit_error,
    metric,
    serving,
    taught,
    teach,
    wait_for,
)

from harness import running
from honed import FeedbackItem, HonedError, Prediction, Unavailable

TEXTS = [text for text, _ in examples(slice(6, 8))]


def test_a_graceful_restart_resumes_version_revision_and_answers(tmp_path):
    home = tmp_path / "h"
    with serving(home) as server, server.client() as client:
        taught(client, "m", examples(slice(3)))
        taught(client, "other", examples(slice(2)))
        teach(client, "m", [(f"is my parcel {n} lost", "lost") for n in range(3)])
        client.promote("m")
        # Learned after the last version: saved on the way down.
        teach(client, "other", [("is my parcel lost", "lost")])
        models = client.list_models()
        before = {one.name: answers(client, one.name, TEXTS) for one in models}
        assert server.stop() == 0
    with serving(home) as server, server.client() as client:
        again = client.list_models()
        for old, new in zip(models, again, strict=True):
            assert (new.name, new.revision, new.labels) == (old.name, old.revision, old.labels)
            assert new.label_set_version == old.label_set_version
            assert new.create_time == old.create_time
            assert distance(answers(client, old.name, TEXTS), before[old.name]) < 1e-4
        assert [new.version - old.version for old, new in zip(models, again, strict=True)] == [0, 1]
        # The lane, built anew, goes on from there and under the same label set.
        teach(client, "m", [("is my parcel 4 lost", "lost")])
        model = client.get_model("m")
        assert model.label_set_version == models[0].label_set_version
        assert logit_error(client, "m", fresh_lane(home, client, "m").head, TEXTS) < 2e-6
        assert server.stop() == 0


def test_labels_acknowledged_before_kill_9_are_all_there_and_learned_once(tmp_path):
    """The adapt process is held still, so that nothing of it was learned when the server dies."""
    home, pairs = tmp_path / "h", examples(slice(3))
    with serving(home) as server, server.client() as client:
        taught(client, "m", examples(slice(3, 4)))
        (adapt,) = psutil.Process(server.process.pid).children()
        with held(adapt.pid):
            acks = [
                client.submit(model="m", text=text, label=label, idempotency_key=text)
                for text, label in pairs
            ]
            server.kill()
    with serving(home) as server, server.client() as client:
        assert wait_for(client, "m", caught_up).revision == acks[-1].position
        listed = list(client.list_feedback("m"))[-len(pairs) :]
        assert [(r.text, r.label) for r in listed] == list(pairs)
        assert [r.feedback_id for r in listed] == [ack.feedback_id for ack in acks]
        again = client.submit_many(
            "m", [FeedbackItem(text, label, idempotency_key=text) for text, label in pairs]
        )
        assert all(ack.already_recorded for ack in again)
        taught(client, "fresh", [*examples(slice(3, 4)), *pairs])
        assert distance(answers(client, "m", TEXTS), answers(client, "fresh", TEXTS)) < 1e-4


def test_kill_9_of_the_adapt_process_stops_only_learning(server, client, name):
    taught(client, name, examples(slice(1)))
    pairs = examples(slice(1, 4))
    stop, seen = Event(), []

    def ask():
        with server.client() as other:
            while not stop.is_set():
                try:
                    seen.append(other.predict(name, TEXTS[0]))
                except HonedError as error:
                    seen.append(error)
                sleep(0.01)  # learning has what serving and other tests leave

    asker = Thread(target=ask)
    asker.start()
    try:
        acks = []
        for n, (text, label) in enumerate(pairs):
            if n == len(pairs) // 2:
                old = server.server.adapt_pid
                os.kill(old, signal.SIGKILL)
                wait_for(client, name, lambda one: one.adapt_state == "down")
                enough = len(seen) + 3
                ask_until(lambda enough=enough: len(seen) > enough)
            acks.append(client.submit(model=name, text=text, label=label))
        model = wait_for(client, name, lambda one: one.revision >= acks[-1].position)
    finally:
        stop.set()
        asker.join()
    assert model.adapt_state == "running"
    assert server.server.adapt_pid != old
    assert [answer for answer in seen if not isinstance(answer, Prediction)] == []
    revisions = [answer.revision for answer in seen]
    assert revisions == sorted(revisions)
    taught(client, f"{name}-fresh", [*examples(slice(1)), *pairs])
    twin = answers(client, f"{name}-fresh", TEXTS)
    assert distance(answers(client, name, TEXTS), twin) < 1e-4
    assert metric(server.server.http_port, "honed_adapt_restarts_total") >= 1


def wait_for_more(seen: list) -> None:
    """Until four more answers have come."""
    enough = len(seen) + 4
    ask_until(lambda: len(seen) >= enough)


def test_without_an_adapt_process_the_saved_version_serves(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", examples(slice(3)))
        before, model = answers(client, "m", TEXTS), client.get_model("m")
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert distance(answers(client, "m", TEXTS), before) < 1e-4
        assert client.get_model("m").adapt_state == "down"
        ack = client.submit(model="m", text="is it lost", label="lost", wait=True, timeout_s=2)
        assert not ack.served
        lagging = client.get_model("m")
        assert (lagging.version, lagging.revision) == (model.version, model.revision)
        assert lagging.log_position == ack.position
        client.create_model("born-without")
        with pytest.raises(HonedError) as caught:
            client.predict("born-without", "anything")
        assert caught.value.reason == "NOTHING_LEARNED"
    with running(home, example=False) as server, server.client() as client:
        assert "lost" in wait_for(client, "m", caught_up).labels


def test_sigterm_finishes_what_was_asked_and_exits_cleanly(tmp_path):
    small = ("--max-batch-tokens", "16", "--min-batch-tokens", "8")
    with serving(tmp_path / "h", *small) as server:
        with server.client(timeout_s=60) as client, ThreadPoolExecutor(4) as pool:
            taught(client, "m", examples(slice(2)))
            tokens = sum(answer.num_tokens for answer in client.predict_many("m", TEXTS))
            calls = [pool.submit(client.predict_many, "m", TEXTS * 3) for _ in range(4)]
            # Calls keep their tokens until they are answered: all four are being worked on now.
            ask_until(lambda: metric(server.http_port, "honed_queued_tokens") == 12 * tokens)
            server.process.send_signal(signal.SIGTERM)
            answered = [answer for call in calls for answer in call.result(60)]
        assert server.stop() == 0
    assert len(answered) == 12 * len(TEXTS)
    assert all(isinstance(answer, Prediction) for answer in answered)


def test_watchers_do_not_hold_up_the_end(tmp_path):
    """Well within `drain_ms`, which is 10 s: there is nothing of theirs to finish."""
    with serving(tmp_path / "h") as server, server.client() as client:
        client.create_model("m")
        with client.watch() as events:
            next(events)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(Unavailable):
                list(events)
        assert server.process.wait(5) == 0
        server.stop()


def test_a_second_server_on_the_same_folder_is_refused(server):
    home: Path = server.config.home
    command = [sys.executable, "-m", "honed_server.main", "--home", str(home)]
    second = subprocess.run(
        [*command, "--port", "0", "--http-port", "0"], capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert second.stderr.strip() == (
        f"honed serve: another server uses the data folder {home}; "
        "stop it or choose another with --home"
    )
