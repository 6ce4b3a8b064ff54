"""What a round has made catches up with the log before it serves: no label is un-served by it."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journeys import (
    Trainer,
    ask_until,
    decisions,
    examples,
    fresh_lane,
    held,
    items,
    logit_error,
    other_encoder,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)
from test_replay import opened

from harness import RunningServer, running
from honed import Client, InvalidRequest
from honed_adapt.encoders.lineage import Lineage, write_lineage
from honed_adapt.gate.holdout import held_out
from honed_adapt.head import Head
from honed_adapt.process.messages import Candidate, Verdict

GOOD = examples(slice(2))
FRESH = [(text, label) for text, label in examples(slice(4, 6)) if label != "track"]
NONSENSE = [(f"{text}, please", "track") for text, _ in FRESH]
LATER = [("is it lost", "lost"), ("I think that it was lost", "lost"), ("it got lost", "lost")]
TEXTS = [text for text, _ in (*FRESH, *LATER)]


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def made(
    server: RunningServer, client: Client, model: str, head: Head, folder: Path, tokens: int = 100
) -> Candidate:
    """What a round offers that has read the log up to here: a head over an encoder of its own."""
    now, home = client.get_model(model), server.config.home
    digest = other_encoder(home, folder, tokens)
    trained = {model: now.log_position}
    base = now.encoder_digest
    write_lineage(home, digest, Lineage(base, base, "r1", "adapter", trained))
    return Candidate(model, digest, now.log_position, head, seed=7)


def assert_lacks_nothing(server: RunningServer, client: Client, model: str) -> None:
    """What serves is what a lane makes of all that List shows, over the encoder that serves."""
    lane = fresh_lane(server.config.home, client, model)
    assert set(client.get_model(model).labels) == set(lane.head.labels)
    assert logit_error(client, model, lane.head, TEXTS) < 1e-4


def test_what_a_person_promotes_serves_all_that_was_learned_since(
    server, client, name, door, tmp_path
):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    offer = made(server, client, name, head, tmp_path / "e")
    verdict = door.offer(offer)
    assert verdict.outcome == "candidate"
    acks = teach(client, name, [*LATER, ("how much is it", "price")])
    client.delete(name, [acks[-1].feedback_id])
    before = client.get_model(name)
    with client.watch(name, timeout_s=20) as events:
        next(events)
        promoted = client.promote(name, verdict.number)
        event = next(one for one in events if one.kind == "version" and
                     one.model.version == verdict.number)  # fmt: skip
    for model in (event.model, promoted):
        assert (model.version, model.encoder_digest) == (verdict.number, offer.encoder_digest)
        assert model.revision >= before.revision
        assert "lost" in model.labels
    assert [one.label for one in client.predict_many(name, [t for t, _ in LATER])] == ["lost"] * 3
    assert_lacks_nothing(server, client, name)
    with opened(server, name) as replays:
        for text, _ in LATER:
            replays.assert_same(client.predict(name, text))
    # It goes on from there, and no recipe has to be found again.
    teach(client, name, [("can it be repaired", "repair")])
    assert_lacks_nothing(server, client, name)


def test_no_answer_on_the_way_lacks_a_label_that_has_served(server, client, name, door, tmp_path):
    """Audits prove a candidate better while labels come: from first to last each one serves."""
    taught(client, name, [*GOOD, *NONSENSE])
    taught(client, f"{name}-good", GOOD)
    head = saved_head(server.config.home, f"{name}-good", 2)
    offer = made(server, client, name, head, tmp_path / "e")
    number = door.offer(offer).number
    wait_for(client, name, lambda model: model.trial is not None)
    teach(client, name, LATER)
    with client.watch(name, timeout_s=30) as events:
        client.submit_many(name, items(FRESH))
        seen = []
        for event in events:
            seen.append(event.model)
            if event.model.version == number:
                break
    assert all("lost" in model.labels for model in seen)
    revisions = [model.revision for model in seen]
    assert revisions == sorted(revisions)
    assert seen[-1].encoder_digest == offer.encoder_digest
    # Where what serves was learned is told from the version, which is what was tried.
    (version,) = [v for v in client.list_versions(name) if v.version == number]
    assert version.log_position == offer.log_position < seen[-1].revision
    (*_, (decision, _)) = decisions(client, name, "gate")
    assert (decision.outcome, decision.version) == ("promoted", number)
    settled = wait_for(client, name, lambda model: model.settled)
    assert set(settled.labels) == {label for _, label in (*GOOD, *NONSENSE, *LATER)}
    assert [one.label for one in client.predict_many(name, [t for t, _ in LATER])] == ["lost"] * 3


def test_a_trainer_waits_until_its_candidate_has_learned_what_came_meanwhile(
    server, client, name, door, tmp_path
):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    offer = made(server, client, name, head, tmp_path / "e")
    teach(client, name, LATER)
    verdict = door.offer(offer)
    (version,) = [v for v in client.list_versions(name) if v.version == verdict.number]
    assert version.log_position == client.get_model(name).revision
    assert "lost" in saved_head(server.config.home, name, verdict.number).labels


def test_what_was_deleted_meanwhile_makes_a_candidate_stale(server, client, name, door, tmp_path):
    acks = taught(client, name, GOOD)
    offer = made(server, client, name, saved_head(server.config.home, name, 2), tmp_path / "e")
    teach(client, name, LATER)
    client.delete(name, [acks[0].feedback_id])
    assert door.offer(offer).outcome == "stale"


def test_what_cannot_catch_up_in_time_does_not_serve(server, client, name, door, tmp_path):
    taught(client, name, GOOD)
    offer = made(server, client, name, saved_head(server.config.home, name, 2), tmp_path / "e")
    number = door.offer(offer).number
    teach(client, name, LATER)
    before = client.get_model(name)
    with (
        held(server.server.adapt_pid),
        server.client(timeout_s=1) as hasty,
        pytest.raises(InvalidRequest) as refused,
    ):
        hasty.promote(name, number)
    assert (refused.value.reason, refused.value.status) == ("CATCHING_UP", "FAILED_PRECONDITION")
    after = client.get_model(name)
    assert (after.version, after.revision) == (before.version, before.revision)
    assert client.promote(name, number).revision >= before.revision


def test_without_an_adapt_process_a_person_decides_at_once(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", GOOD)
        offer = made(server, client, "m", saved_head(home, "m", 2), tmp_path / "e")
        with trainer(home) as door:
            number = door.offer(offer).number
        teach(client, "m", LATER)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        model = client.promote("m", number)
        assert (model.version, model.revision) == (number, offer.log_position)
        assert "lost" not in model.labels
    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.settled and "lost" in one.labels)
        assert_lacks_nothing(server, client, "m")


def test_a_head_from_elsewhere_serves_as_it_was_judged(server, client, name, door, tmp_path):
    """What it knows is not in the log: nothing can be learned in its place."""
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    other = replace(head, labels=(*head.labels[:-1], "elsewhere"))
    digest = other_encoder(server.config.home, tmp_path / "e", tokens=90)
    now = client.get_model(name)
    verdict: Verdict = door.offer(Candidate(name, digest, now.log_position, other))
    teach(client, name, LATER)
    promoted = client.promote(name, verdict.number)
    assert promoted.revision == now.log_position
    assert "elsewhere" in promoted.labels


def test_an_adapt_process_that_begins_anew_catches_up_anew(server, client, name, door, tmp_path):
    """What the one before it has offered lacks what came since, and must not serve."""
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    number = door.offer(made(server, client, name, head, tmp_path / "e")).number
    teach(client, name, LATER[:1])
    with (
        held(server.server.adapt_pid),
        server.client(timeout_s=1) as hasty,
        pytest.raises(InvalidRequest),
    ):
        hasty.promote(name, number)  # from here on it is to catch up, whoever waits
    ask_until(lambda: ahead(server, name) is not None)
    before = ahead(server, name)
    pid = server.server.adapt_pid
    os.kill(pid, signal.SIGKILL)
    client.submit_many(name, items(LATER[1:]))
    wait_for(client, name, lambda model: model.revision >= model.log_position, timeout_s=60)
    found = client.promote(name, number)
    assert found.revision > before
    assert found.revision == client.get_model(name).log_position
    assert [one.label for one in client.predict_many(name, [t for t, _ in LATER])] == ["lost"] * 3


def ahead(server: RunningServer, name: str) -> int | None:
    """The revision that a candidate of the model has caught up to."""
    found = server.server.catalogue.entry(name).ahead
    return None if found is None or found.offer is None else found.offer.revision


def test_answers_over_what_a_round_made_are_recomputed_as_they_were_judged(
    server, client, name, door, tmp_path
):
    words = {"price": "how much is number {}", "track": "where is parcel {}"}
    # Some are wrong, so that probabilities show the temperature.
    said = [
        (words[label].format(n), "track" if n % 7 == 0 else label)
        for n in range(200)
        for label in words
    ]
    taught(client, name, said[:250])
    teach(client, name, said[250:])
    lane = fresh_lane(server.config.home, client, name)
    assert len(held_out(lane.in_effect)) >= 64
    head = saved_head(server.config.home, name, 2)
    verdict = door.offer(made(server, client, name, head, tmp_path / "e"))
    client.promote(name, verdict.number)
    teach(client, name, LATER)
    with opened(server, name) as replays:
        for text in ("how much is number 7", "how much is parcel 400"):
            replays.assert_same(client.predict(name, text))
