"""Deletion: influence gone exactly, bytes gone from every file, and a record that is left."""

import asyncio
import os
import signal
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from journeys import (
    TOLERANCE,
    answers,
    ask_until,
    caught_up,
    distance,
    examples,
    files_holding,
    fresh_lane,
    held,
    same_head,
    saved_head,
    stored_vectors,
    taught,
    teach,
    wait_for,
)

from harness import running
from honed import Client, Conflict, HonedError, InvalidRequest, NotFound, Unavailable
from honed_adapt.feedback.log import FeedbackLog, NewFeedback, Selector
from honed_adapt.feedback.values import Kind

BASE = examples(slice(2))
TEXTS = [text for text, _ in examples(slice(6, 8))]


def secrets(word: str) -> list[tuple[str, str]]:
    """Texts about a word that is in no other file; one of them says otherwise than the base."""
    return [
        (f"my name is {word} and I want to move out", "moving"),
        (f"send it to {word} Lane when I have moved", "moving"),
        (BASE[0][0], "moving"),
        (f"{word} here, where is my winter hat", "track"),
    ]


def confide(client: Client, model: str, word: str) -> list[str]:
    """Teaches the secrets as corrections of answers, so that the prediction log has them too."""
    ids = []
    for text, label in secrets(word):
        ack = client.submit(client.predict(model, text), label=label, submitter="ada", wait=True)
        ids.append(ack.feedback_id)
    return ids


def secret_vectors(home: Path, client: Client, model: str) -> list[bytes]:
    """Vectors of the secrets that say something of the word; the other text is not theirs alone."""
    *_, first, second, _, last = stored_vectors(home, client, model)
    return [first, second, last]


def holding(home: Path, things: Iterable[str | bytes]) -> list[str]:
    """Files that hold any of the things."""
    return [file for thing in things for file in files_holding(home, thing)]


@pytest.fixture
def word(name: str) -> str:
    """A word that no other test uses, and that is no part of the model's name."""
    return f"Quill{zlib.crc32(name.encode())}"


def test_deleted_feedback_leaves_no_influence_and_no_bytes(server, client, name, word):
    home = server.config.home
    taught(client, name, BASE)
    before, labels = answers(client, name, TEXTS), client.get_model(name).labels
    ids = confide(client, name, word)
    client.promote(name)
    assert distance_to(client, name, before) > 0.01
    vectors = secret_vectors(home, client, name)
    assert files_holding(home, word)
    assert all(files_holding(home, vector) for vector in vectors)

    done = client.delete(name, ids, requested_by="ada")
    assert distance_to(client, name, before) < TOLERANCE
    model = client.get_model(name)
    assert model.labels == labels
    assert (model.version, model.revision) == (done.served_version, done.served_revision)
    assert model.revision >= done.position == model.log_position
    assert holding(home, [word, *vectors]) == []
    lane = fresh_lane(home, client, name)
    assert lane.effective == len(BASE)
    assert same_head(saved_head(home, name, done.served_version), lane.head)

    tainted = [v for v in client.list_versions(name) if v.tainted_position]
    assert tuple(v.version for v in tainted) == done.tainted_versions == (3,)
    assert {v.tainted_position for v in tainted} == {done.position}
    (*_, version) = client.list_versions(name)
    assert (version.version, version.source, version.state) == (4, "deletion", "active")


def distance_to(client: Client, model: str, before: dict) -> float:
    """From the answers of before; labels that came since count in full."""
    now = answers(client, model, before)
    known = {text: {label: now[text].get(label, 0.0) for label in before[text]} for text in before}
    return distance(known, before)


def test_a_tombstone_is_left_and_repeating_is_harmless(client, name, word):
    taught(client, name, BASE)
    ids = confide(client, name, word)
    before = client.get_model(name)
    keys = [r.idempotency_key for r in client.list_feedback(name) if r.feedback_id in ids]
    done = client.delete(name, [*ids[:2], "f0"], requested_by="ada")
    *tombstones, error = done.results
    listed = {r.feedback_id: r for r in client.list_feedback(name)}
    for feedback_id, tombstone in zip(ids[:2], tombstones, strict=True):
        assert tombstone == listed[feedback_id]
        assert (tombstone.state, tombstone.text, tombstone.label) == ("deleted", "", "")
        assert (tombstone.deleted_by, tombstone.deleted_position) == ("ada", done.position)
        assert tombstone.deleted_time > tombstone.recorded_time
        assert tombstone.prediction_id == tombstone.predicted_label == ""
        assert tombstone.idempotency_key == ""  # it may tell of the text
    assert isinstance(error, NotFound)
    assert error.reason == "UNKNOWN_FEEDBACK"
    assert listed[ids[3]].state == "active"
    assert done.position > before.log_position

    again = client.delete(name, ids[:2], requested_by="bob")
    assert again.position == 0
    assert again.results == tuple(tombstones)
    assert again.tainted_versions == ()  # they are marked by now
    assert client.get_model(name).log_position == done.position
    with pytest.raises(Conflict) as caught:
        client.submit(model=name, text=TEXTS[0], label="track", idempotency_key=keys[0])
    assert caught.value.reason == "FEEDBACK_DELETED"
    with pytest.raises(NotFound):
        client.delete(f"{name}-other", ids)


def test_deleting_one_label_of_a_text_lets_the_other_count(client, name):
    text = TEXTS[0]
    taught(client, name, [*BASE, (text, "first")])
    before = answers(client, name, TEXTS)
    (ack,) = teach(client, name, [(text, "second")])
    assert client.predict(name, text).label == "second"
    client.delete(name, [ack.feedback_id])
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE


def test_deleting_everything_leaves_a_model_that_knows_nothing(client, name):
    acks = taught(client, name, BASE)
    done = client.delete(name, [ack.feedback_id for ack in acks])
    assert len(done.results) == len(BASE)
    assert client.get_model(name).labels == ()
    with pytest.raises(InvalidRequest) as caught:
        client.predict(name, TEXTS[0])
    assert caught.value.reason == "NOTHING_LEARNED"
    teach(client, name, BASE[:2])
    assert client.predict(name, BASE[0][0]).label == BASE[0][1]


def test_a_deletion_while_paused_forgets_and_stays_paused(server, client, name, word):
    taught(client, name, BASE)
    before = answers(client, name, TEXTS)
    ids = confide(client, name, word)
    client.pause(name)
    later = client.submit(model=name, text=TEXTS[0], label="mine")
    done = client.delete(name, ids)
    assert distance_to(client, name, before) < TOLERANCE
    model = client.get_model(name)
    assert model.adaptation_paused
    assert model.revision == done.position
    assert "mine" not in model.labels
    assert files_holding(server.config.home, word) == []
    client.resume(name)
    wait_for(client, name, lambda one: "mine" in one.labels)
    assert client.get_model(name).revision >= later.position


def test_a_deletion_nobody_carries_out_is_pending_and_can_be_finished(server, client, name, word):
    """The adapt process is held still, then dies."""
    home = server.config.home
    taught(client, name, BASE)
    before = answers(client, name, TEXTS)
    ids = confide(client, name, word)
    vectors = secret_vectors(home, client, name)
    pid = server.server.adapt_pid
    with held(pid):
        with pytest.raises(Unavailable) as caught:
            client.delete(name, ids, requested_by="ada", timeout_s=2)
        assert caught.value.reason == "DELETION_PENDING"
        assert caught.value.retry_after_s
        # Erased it is, and on record; only the model that serves has not forgotten yet.
        assert files_holding(home, word) == []
        records = list(client.list_feedback(name))[-len(ids) :]
        assert {(record.state, record.deleted_by) for record in records} == {("deleted", "ada")}
        assert client.predict(name, TEXTS[0])
        os.kill(pid, signal.SIGKILL)
    done = client.delete(name, ids, timeout_s=30)
    assert done.position == 0
    assert [result.state for result in done.results] == ["deleted"] * len(ids)
    assert done.served_revision >= records[0].deleted_position
    assert distance_to(client, name, before) < TOLERANCE
    assert holding(home, vectors) == []
    assert client.list_versions(name)[-1].source == "deletion"


def test_a_pending_deletion_is_not_undone_by_restarts(tmp_path, word):
    """Model `saved` has a version with the secrets, model `unsaved` only serves them."""
    home, models = tmp_path / "h", ("saved", "unsaved")
    with running(home, example=False) as server, server.client() as client:
        ids, vectors = {}, []
        for model in models:
            taught(client, model, BASE)
            before = answers(client, model, TEXTS)
            ids[model] = confide(client, model, word)
            vectors += secret_vectors(home, client, model)
        client.import_anchor("saved", [(f"we move out in week {n}", "moving") for n in range(5)])
        client.promote("saved")
        with held(server.server.adapt_pid):
            for model in models:
                with pytest.raises(Unavailable) as caught:
                    client.delete(model, ids[model], timeout_s=1)
                assert caught.value.reason == "DELETION_PENDING"
            with pytest.raises(InvalidRequest) as caught:
                client.promote("unsaved")
            assert caught.value.reason == "DELETION_PENDING"
            os.kill(server.server.adapt_pid, signal.SIGKILL)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        # What was learned from it does not serve again, if nothing else is there nothing does.
        with pytest.raises(InvalidRequest) as caught:
            client.predict("saved", TEXTS[0])
        assert caught.value.reason == "NOTHING_LEARNED"
        assert distance_to(client, "unsaved", before) < TOLERANCE
    with running(home, example=False) as server, server.client() as client:
        for model in models:
            wait_for(client, model, caught_up)
    # Saved on the way down, although the version before knew more of the anchor set.
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert client.get_model("saved").version == 4
        assert distance_to(client, "saved", before) < TOLERANCE
    with running(home, example=False) as server, server.client() as client:
        for model in models:
            assert distance_to(client, model, before) < TOLERANCE
            done = client.delete(model, ids[model])
            head = saved_head(home, model, done.served_version)
            assert same_head(head, fresh_lane(home, client, model).head)
        assert holding(home, [word, *vectors]) == []
        assert [v.version for v in client.list_versions("saved") if v.tainted_position] == [3]


def test_a_label_that_comes_while_a_deletion_waits_is_forgotten_with_its_answer(
    server, client, name, word
):
    home, entries = server.config.home, server.server.catalogue.entries
    taught(client, name, BASE)
    confide(client, name, word)
    wait_for(client, name, lambda one: one.settled)
    answer = client.predict(name, f"one more word of {word}")
    lock = entries[name].lock
    server.run(lock.acquire())
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(lambda: client.delete(name, submitter="ada", timeout_s=60))
        ask_until(lambda: lock._waiters)
        ack = client.submit(answer, label="moving", submitter="ada")
        server.run(release(lock))
        done = deleting.result()
    assert done.deleted == 5
    assert client.delete(name, [ack.feedback_id]).deleted == 0
    assert files_holding(home, word) == []


async def release(lock: asyncio.Lock) -> None:
    lock.release()


def test_what_a_crash_left_of_a_deletion_is_erased_at_the_next_start(tmp_path, word):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        confide(client, "m", word)
    with closing(FeedbackLog(home / "feedback.sqlite")) as log:  # so far the server came
        assert log.delete("m", Selector(submitter="ada"), "dpo").result().entries == 4
    assert any("predictions" in file for file in files_holding(home, word))
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert [file for file in files_holding(home, word) if "sqlite" in file] == []
        states = {record.state for record in client.list_feedback("m", submitter="ada")}
        assert states == {"deleted"}


def test_what_a_crash_left_of_a_deleted_model_is_erased_at_the_next_start(tmp_path, word):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        client.delete_model("m")
    late = NewFeedback("m", "late", f"{word} was said meanwhile", "lost", Kind.CORRECTION)
    with closing(FeedbackLog(home / "feedback.sqlite")) as log:
        log.submit([late]).result()
    (home / "models" / "m").mkdir(parents=True)
    (home / "models" / "m" / "left").write_text(word)
    assert files_holding(home, word)
    with running(home, example=False, adapt=False):
        assert files_holding(home, word) == []


def test_a_deleted_model_is_forgotten_and_its_name_stays_taken(server, client, name, word):
    home = server.config.home
    taught(client, name, BASE)
    confide(client, name, word)
    vectors = secret_vectors(home, client, name)
    client.import_anchor(name, [(f"{word} is an anchor", "track")])
    unread = client.predict(name, f"{word} Lane again")
    assert client.delete_model(name, requested_by="ada") == len(BASE) + 4
    assert not (server.config.home / "models" / name).exists()
    assert files_holding(home, word) == []
    ask_until(lambda: holding(home, vectors) == [])
    assert name not in [model.name for model in client.list_models()]
    for call in (
        lambda: client.submit(model=name, text=TEXTS[0], label="track"),
        lambda: client.submit(unread, label="track"),
        lambda: client.predict(name, TEXTS[0]),
        lambda: client.get_model(name),
        lambda: client.delete_model(name),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.reason == "UNKNOWN_MODEL"
    with pytest.raises(Conflict) as caught:
        client.create_model(name)
    assert caught.value.reason == "MODEL_EXISTS"
    assert "was deleted" in caught.value.message


def test_a_model_deleted_while_nobody_learns_is_forgotten_all_the_same(tmp_path, word):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        taught(client, "other", BASE)
        confide(client, "m", word)
        vectors = secret_vectors(home, client, "m")
        other = stored_vectors(home, client, "other")[:1]
    with running(home, example=False, adapt=False) as server, server.client() as client:
        client.delete_model("m")
        assert files_holding(home, word) == []
    with running(home, example=False) as server, server.client() as client:
        assert [model.name for model in client.list_models()] == ["other"]
        teach(client, "other", [("it is lost", "lost")])  # so learning has begun
        assert holding(home, vectors) == []
        assert all(files_holding(home, vector) for vector in other)
        with pytest.raises(HonedError):
            client.create_model("m")
