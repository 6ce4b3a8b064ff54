"""Deletion by submitter and by time, its record, and the deadline for what was trained on it."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from journeys import (
    TOLERANCE,
    answers,
    ask_until,
    candidate,
    decisions,
    distance,
    examples,
    files_holding,
    fresh_lane,
    other_encoder,
    same_head,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import running
from honed import Client, DeletionRecord, InvalidRequest
from honed_adapt.encoders.lineage import Lineage, write_lineage
from honed_server.feedback.deletions import Deletions
from honed_server.models.shelf import Shelf

BASE = examples(slice(2))
TEXTS = [text for text, _ in examples(slice(6, 8))]
DAY_S = 86_400


def record_of(client: Client, model: str) -> DeletionRecord:
    (*_, record) = client.list_deletions(model)
    return record


def checked(client: Client, model: str) -> DeletionRecord:
    """The record of the last deletion when its difference is known."""
    ask_until(lambda: record_of(client, model).difference is not None)
    return record_of(client, model)


def test_a_submitter_is_forgotten_in_one_call(server, client, name):
    home = server.config.home
    taught(client, name, BASE, submitter="ann")
    before = answers(client, name, TEXTS)
    word = f"Quince{name[-8:]}"
    # More than one call could name by id, and one of them is withdrawn.
    secrets = [(f"{word} {n}", ("track", "refund")[n % 2]) for n in range(260)]
    acks = teach(client, name, secrets[:256], submitter="ada")
    teach(client, name, secrets[256:], submitter="ada")
    client.retract(name, acks[0].feedback_id, submitter="ada", wait=True)
    client.promote(name)
    tainted = client.get_model(name).version
    assert files_holding(home, word)

    done = client.delete(name, submitter="ada", requested_by="dpo", timeout_s=60)
    assert (done.deleted, done.results) == (261, ())
    assert done.record == record_of(client, name)
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE
    assert files_holding(home, word) == []
    assert not (home / "models" / name / "versions" / str(tainted)).exists()
    states = {record.state for record in client.list_feedback(name, submitter="ada")}
    assert states == {"deleted"}

    record = checked(client, name)
    assert record.difference <= 1e-9
    assert (record.submitter, record.requested_by) == ("ada", "dpo")
    assert record.position == done.position
    assert len(record.feedback_ids) == 261
    assert record.served_revision >= record.position
    assert record.complete
    assert not record.tainted

    again = client.delete(name, submitter="ada")
    assert (again.deleted, again.position) == (0, 0)
    assert again.record == record
    with pytest.raises(InvalidRequest) as caught:
        client.rollback(name, tainted)
    assert "deleted at log position" in caught.value.message


def test_a_submitter_is_forgotten_while_others_teach(server, client, name):
    home = server.config.home
    taught(client, name, BASE, submitter="ann")
    teach(client, name, examples(slice(2, 3)), submitter="ada")
    lessons = examples(slice(4, 5))
    with ThreadPoolExecutor(1) as pool:
        teaching = pool.submit(
            lambda: [teach(client, name, [lesson], submitter="bob") for lesson in lessons]
        )
        done = client.delete(name, submitter="ada")
        teaching.result()
    assert done.deleted == 15
    version = client.promote(name).version
    lane = fresh_lane(home, client, name)
    assert lane.effective == len(BASE) + len(lessons)
    assert same_head(saved_head(home, name, version), lane.head)


def test_what_was_recorded_in_a_time_is_forgotten(client, name):
    taught(client, name, BASE)
    before = answers(client, name, TEXTS)
    since = datetime.now(UTC)
    teach(client, name, [(TEXTS[0], "stock"), (TEXTS[1], "price")], submitter="ada")
    teach(client, name, [(TEXTS[2], "stock")], submitter="bob")
    until = datetime.now(UTC)
    done = client.delete(name, submitter="bob", recorded_from=since, recorded_until=until)
    assert done.deleted == 1
    done = client.delete(name, recorded_from=since, recorded_until=until)
    assert done.deleted == 2
    assert record_of(client, name).submitter == ""
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE
    assert client.delete(name, recorded_until=since - timedelta(days=1)).deleted == 0


def test_a_selection_that_is_none_is_refused(client, name):
    taught(client, name, BASE[:2])
    now = datetime.now(UTC)
    for reason, what in (
        ("BAD_COUNT", {}),
        ("AMBIGUOUS_SELECTION", {"feedback_ids": ["f0"], "submitter": "ada"}),
        ("EMPTY_RANGE", {"recorded_from": now, "recorded_until": now}),
    ):
        with pytest.raises(InvalidRequest) as caught:
            client.delete(name, **what)
        assert caught.value.reason == reason
    assert client.list_deletions(name) == []


def test_a_version_that_was_trained_on_it_retires_at_the_deadline(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        acks = taught(client, "m", BASE)
        first = client.get_model("m")
        digest = other_encoder(home, tmp_path / "encoder")
        head = server.server.catalogue.serving("m").head
        offer = candidate(client, "m", head)
        with trainer(home) as line:
            verdict = line.offer(type(offer)("m", digest, offer.log_position, head, seed=7))
        client.promote("m", verdict.number)
        trained = Lineage(digest, first.encoder_digest, "r1", "adapter", {"m": acks[-1].position})
        write_lineage(home, digest, trained)

        done = client.delete("m", [acks[3].feedback_id], timeout_s=30)
        (held,) = done.record.tainted
        assert (held.version, held.in_encoder, held.active) == (done.served_version, True, True)
        assert not done.record.complete
        due = held.retire_time - done.record.time
        assert due == timedelta(days=30)
        assert client.get_model("m").encoder_digest == digest

        def settle_at(days: float) -> None:
            """As the server looks itself, some days later."""
            catalogue = server.server.catalogue
            later = Deletions(
                catalogue,
                Shelf(catalogue),
                server.server.predictions,
                30,
                clock=lambda: time.time() + days * DAY_S,
            )
            server.run(later.settle_all())

        settle_at(29)
        assert client.get_model("m").encoder_digest == digest
        settle_at(31)
        model = wait_for(client, "m", lambda one: one.revision >= done.position)
        assert model.encoder_digest == first.encoder_digest
        assert set(model.labels) == set(first.labels)
        record = record_of(client, "m")
        assert record.complete
        assert not record.tainted
        outcomes = [decision.outcome for decision, _ in decisions(client, "m", "retire")]
        assert outcomes[-2:] == ["activated", "removed"]
