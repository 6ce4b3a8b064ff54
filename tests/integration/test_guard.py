"""The anchor guard through the API: poison goes to quarantine, innocents are learned."""

import os
import signal

import pytest
from journeys import (
    answers,
    caught_up,
    decisions,
    distance,
    examples,
    fresh_lane,
    items,
    logit_error,
    states,
    taught,
    wait_for,
)

from harness import running
from honed import Client, FeedbackAck

BASE, ANCHORS = examples(slice(3)), examples(slice(4, 6))
TEXTS = [text for text, _ in ANCHORS]
# A vandal calls everything a refund; in between somebody says something useful.
POISON = [
    (phrase.format(text), "refund")
    for phrase in ("{}, please", "hello, {}", "well, {}")
    for text, label in ANCHORS
    if label != "refund"
][:60]
HONEST = [
    (f"can I leave a review of the {thing}", "review")
    for thing in ("jacket", "lamp", "chair", "coat", "bottle", "case")
]


def guarded(client: Client, model: str) -> int:
    """A model with an anchor set that it answers well; how many of it are right."""
    taught(client, model, BASE)
    done = client.import_anchor(model, ANCHORS)
    assert (done.imported, done.total, done.unknown_labels) == (len(ANCHORS), len(ANCHORS), ())
    assert client.get_model(model).anchor_examples == len(ANCHORS)
    right = anchors_right(client, model)
    assert right >= len(ANCHORS) - 1
    return right


def anchors_right(client: Client, model: str) -> int:
    predictions = client.predict_many(model, TEXTS)
    return sum(p.label == label for p, (_, label) in zip(predictions, ANCHORS, strict=True))


def burst(client: Client, model: str) -> list[FeedbackAck]:
    """The vandal's labels and the honest ones in one call: ten of those, then one of these."""
    rows = []
    for n, honest in enumerate(HONEST):
        rows += items(POISON[10 * n : 10 * n + 10], submitter="vandal")
        rows += items([honest], submitter="ada")
    return client.submit_many(model, rows, wait=True, timeout_s=30)


def test_a_poisoned_burst_is_quarantined_and_the_innocents_in_it_are_learned(server, client, name):
    assert len(POISON) == 60
    before = guarded(client, name)
    acks = burst(client, name)
    assert all(ack.served for ack in acks)
    assert anchors_right(client, name) >= before - 2
    assert "review" in client.get_model(name).labels
    assert client.predict(name, "may I write a review of the shoes").label == "review"

    records = list(client.list_feedback(name))[len(BASE) :]
    refused = [r for r in records if r.state == "quarantined"]
    assert {r.submitter for r in refused} == {"vandal"}
    assert len(refused) > 10
    assert [ack.quarantined for ack in acks] == [r.state == "quarantined" for r in records]
    (decision, numbers), *_ = decisions(client, name, "quarantine")
    assert (decision.outcome, decision.actor) == ("refused", "guard")
    assert numbers["anchor_correct"] < numbers["anchor_reference"] - 2
    assert numbers["anchor_reference"] >= before
    decided = {p for _, n in decisions(client, name, "quarantine") for p in n["positions"]}
    assert decided == {r.position for r in refused}

    # The head is that of the rows that List shows as active, and of no others.
    home = server.config.home
    assert logit_error(client, name, fresh_lane(home, client, name).head, TEXTS) < 2e-6
    again = client.submit_many(name, items([POISON[0]], idempotency_key="again"), wait=True)
    assert again[0].served


def test_the_same_burst_without_an_anchor_set_does_harm(client, name):
    """The guard's test proves something only if the poison is one."""
    taught(client, name, BASE)
    before = anchors_right(client, name)
    acks = burst(client, name)
    assert not any(ack.quarantined for ack in acks)
    assert anchors_right(client, name) < before - 10


def test_a_decision_of_the_guard_is_replayed_after_a_restart(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        guarded(client, "m")
        acks = burst(client, "m")
        decided, after = states(client, "m"), answers(client, "m", TEXTS)
        with client.watch("m", timeout_s=20) as events:
            next(events)
            os.kill(server.server.adapt_pid, signal.SIGKILL)
            wait_for(client, "m", lambda one: one.adapt_state == "down")
            next(event for event in events if event.kind == "revision")  # built anew
        assert distance(answers(client, "m", TEXTS), after) < 1e-4
        assert states(client, "m") == decided
    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.adapt_state == "running" and caught_up(one))
        client.submit_many("m", items([("is it lost", "lost")]), wait=True)
        lost = next(client.list_feedback("m", label="lost"))
        client.retract("m", lost.feedback_id, wait=True)
        assert distance(answers(client, "m", TEXTS), after) < 1e-4
        assert states(client, "m")[: len(decided)] == decided
        # A repeated submission still tells what became of the label.
        refused = next(r for r in client.list_feedback("m") if r.state == "quarantined")
        (ack,) = client.submit_many(
            "m",
            items(
                [(refused.text, refused.label)],
                submitter="vandal",
                idempotency_key=refused.idempotency_key,
            ),
            wait=True,
        )
        assert ack.already_recorded
        assert ack.quarantined
        assert any(one.position == ack.position and one.quarantined for one in acks)


def test_a_watcher_is_told_of_a_quarantine(client, name):
    guarded(client, name)
    with client.watch(name, timeout_s=20) as events:
        next(events)
        burst(client, name)
        told = next(event for event in events if event.kind == "quarantined")
        assert told.model.name == name


@pytest.mark.parametrize("deletes", [False, True])
def test_what_is_said_while_learning_is_paused_meets_the_guard_when_it_resumes(
    client, name, deletes
):
    """Also when a deletion has made a newer revision meanwhile, which has not learned it."""
    before = guarded(client, name)
    client.pause(name)
    acks = burst(client, name)
    assert not any(ack.served for ack in acks)
    if deletes:
        client.delete(name, [next(client.list_feedback(name)).feedback_id])
    client.resume(name)
    wait_for(client, name, lambda one: "review" in one.labels and caught_up(one))
    assert anchors_right(client, name) >= before - 2
    assert states(client, name).count("quarantined") > 10
