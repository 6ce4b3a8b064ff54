"""Fine-tuning rounds through a real server: asked for, trained, judged, resumed, cancelled."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import sleep

import pytest
from journeys import (
    answers,
    ask_until,
    candidate,
    decisions,
    distance,
    saved_head,
    teach,
    wait_for,
)

from checkpoints import save_encoder
from harness import RunningServer, running
from honed import Client, FeedbackItem, FeedbackKind, InvalidRequest, NotFound, Prediction
from honed.round_types import Round
from honed_adapt.process.messages import Verdict
from honed_server.rounds.rows import RoundRow, RoundState

CLASSES = ("grant", "notice", "patent")
ANCHOR = [(f"one more {name} of the work", name) for name in CLASSES]


def labels(start: int = 0, count: int = 60, kinds: tuple[str, ...] = CLASSES):
    return [
        (f"the {kinds[n % len(kinds)]} under section {n} of it", kinds[n % len(kinds)])
        for n in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def server(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("rounds")
    with running(home, example=False, encoder=encoder, precision="fp32") as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def taught(client: Client, model: str, count: int = 60) -> None:
    client.create_model(model)
    teach(client, model, labels(count=count), kind="audit")


def until(client: Client, started: Round, *states: str, timeout_s: float = 120) -> Round:
    """The round as soon as it is in one of these states; each event is looked at."""
    with client.watch(started.models[0], timeout_s=timeout_s) as events:
        for _ in events:
            (found,) = [r for r in client.list_rounds() if r.round_id == started.round_id]
            if found.state in states or not found.active:
                return found
    raise AssertionError("the watch ended")


def test_a_round_ends_in_candidates_that_are_judged(server: RunningServer, client: Client) -> None:
    """Two models of one encoder are trained together; each gets a version of its own."""
    names = ("together-a", "together-b")
    for name in names:
        taught(client, name)
        client.import_anchor(name, ANCHOR)
    before = {name: client.get_model(name).encoder_digest for name in names}
    started = client.start_round(names[0], seed=7, requested_by="test")
    assert (started.models, started.kind, started.trigger) == (names, "adapter", "request")
    with pytest.raises(InvalidRequest) as refused:
        client.start_round(names[1])
    assert refused.value.reason == "ROUND_UNDER_WAY"
    ended = until(client, started, "done")
    assert ended.state == "done", ended.reason
    assert ended.encoder_digest not in before.values()
    metrics = json.loads(ended.metrics_json)
    assert (metrics["seed"], metrics["tuning"]["rate"]) == (7, 2e-4)
    for name, number in zip(names, ended.versions, strict=True):
        (version,) = [v for v in client.list_versions(name) if v.version == number]
        assert version.encoder_digest == ended.encoder_digest
        assert version.log_position > 0
        assert metrics["models"][name]["held"] > 0
        judged = [d for d, _ in decisions(client, name, "gate") if d.version == number]
        assert judged
        # The decision is recorded after the round's end is.
        ask_until(lambda name=name: len(decisions(client, name, "round")) > 1)
        outcomes = [d.outcome for d, _ in decisions(client, name, "round")]
        assert outcomes == ["queued", "done"]
        serves = client.promote(name, number) if version.state == "candidate" else None
        if serves is not None:
            assert serves.encoder_digest == ended.encoder_digest
            # Learning goes on over the new encoder, with vectors that the round has left.
            teach(client, name, [("the trademark of it", "trademark")])
            assert "trademark" in client.get_model(name).labels
    assert not list((server.config.home / "adapt" / "rounds").glob("*"))
    assert not list((server.config.home / "adapt").glob("vectors-*"))


def test_a_killed_trainer_is_followed_by_one_that_goes_on(
    server: RunningServer, client: Client
) -> None:
    taught(client, "killed")
    change(client, "killed", own_encoder=True)
    texts = [text for text, _ in labels(count=3)]
    before = answers(client, "killed", texts)
    started = client.start_round("killed", full=True)
    until(client, started, "training")
    pid = server.server.rounds.trainer_pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert distance(answers(client, "killed", texts), before) < 1e-4
    ended = until(client, started, "done")
    assert (ended.state, ended.kind, ended.models) == ("done", "full", ("killed",)), ended.reason


def test_a_search_before_a_round_is_on_record_and_its_best_is_trained(client: Client) -> None:
    taught(client, "searched")
    change(client, "searched", own_encoder=True)
    started = client.start_round("searched", full=True, trials=3, seed=5)
    ended = until(client, started, "done")
    assert ended.state == "done", ended.reason
    metrics = json.loads(ended.metrics_json)
    tried, tuning = metrics["tried"], metrics["tuning"]
    assert (metrics["trials"], len(tried)) == (3, 3)
    assert tried[0]["rate"] == 2e-5  # the default of a full one
    best = min(tried, key=lambda one: one["loss"])
    chosen = {name: tuning[name] for name in ("rate", "scale", "dropout")}
    assert {**chosen, "loss": best["loss"]} == best
    assert (tuning["kind"], tuning["epochs"]) == ("full", 3)


def test_a_cancelled_round_leaves_nothing(server: RunningServer, client: Client) -> None:
    taught(client, "cancelled")
    change(client, "cancelled", own_encoder=True)
    versions = client.list_versions("cancelled")
    started = client.start_round("cancelled")
    until(client, started, "training")
    ended = client.cancel_round(started.round_id, "test")
    assert (ended.state, ended.reason) == ("cancelled", "on request")
    assert client.list_versions("cancelled") == versions
    with pytest.raises(InvalidRequest) as refused:
        client.cancel_round(started.round_id)
    assert refused.value.reason == "ROUND_ENDED"
    with pytest.raises(NotFound):
        client.cancel_round("nothing")


def test_a_candidate_that_is_judged_while_its_round_is_cancelled_does_not_serve(
    server: RunningServer, client: Client
) -> None:
    """It knows a label that is asked for and costs nothing: the gate would promote it."""
    name, other = "withdrawn", "withdrawn-other"
    new = ("the trademark of it", "trademark")
    taught(client, name)
    client.import_anchor(name, [*ANCHOR, new])
    client.create_model(other)
    teach(client, other, [*labels(), new], kind="audit")
    head = saved_head(server.config.home, other, client.promote(other).version)
    change(client, name, own_encoder=True)
    started, before = client.start_round(name), client.get_model(name)
    catalogue, rounds = server.server.catalogue, server.server.rounds
    offers = server.server._offers
    offer = replace(candidate(client, name, head), round_id=started.round_id)

    async def cancelled_meanwhile() -> tuple[Verdict, RoundRow]:
        async with catalogue.entry(name).lock:  # so that it is not judged yet
            offered = asyncio.create_task(rounds.offered(offer, offers))
            await asyncio.sleep(0)
            cancelled = asyncio.create_task(rounds.cancel(started.round_id, "test"))
            await asyncio.sleep(0)
        return await offered, await cancelled

    verdict, row = server.run(cancelled_meanwhile())
    assert (verdict.outcome, verdict.reason) == ("refused", "its round was cancelled")
    assert client.get_model(name).version == before.version
    assert (row.state, row.versions) == (RoundState.CANCELLED, {name: verdict.number})
    late = server.run(rounds.offered(offer, offers))
    assert (late.outcome, late.reason) == ("stale", "the round has ended")
    free = replace(offer, round_id="")
    assert server.run(rounds.offered(free, offers)).outcome == "promoted"


def test_a_round_goes_on_after_a_restart(tmp_path: Path, encoder: Path) -> None:
    settings = {"example": False, "encoder": encoder, "precision": "fp32"}
    with running(tmp_path, **settings) as server, server.client() as client:
        taught(client, "m")
        started = client.start_round("m")
        until(client, started, "training")
    with running(tmp_path, **settings) as server, server.client() as client:
        with client.watch("m", timeout_s=60) as events:
            assert any(server.server.rounds.trainer_pid for _ in events)
        (found,) = client.list_rounds("m")
        assert (found.round_id, found.active) == (started.round_id, True)
        client.cancel_round(started.round_id)


def test_enough_new_labels_start_a_round(client: Client) -> None:
    taught(client, "counted", 30)
    change(client, "counted", round_labels=50)
    assert client.list_rounds("counted") == []
    teach(client, "counted", labels(30, 20))
    assert wait_for(client, "counted", lambda _: bool(client.list_rounds("counted")))
    (started,) = client.list_rounds("counted")
    assert started.trigger == "count"
    client.cancel_round(started.round_id)
    teach(client, "counted", labels(50, 20))
    assert len(client.list_rounds("counted")) == 1  # the next needs 50 new ones


def test_time_starts_a_round_and_another_when_that_has_ended(client: Client) -> None:
    def started() -> list[Round]:
        return client.list_rounds("timed")

    taught(client, "timed", 30)
    change(client, "timed", own_encoder=True, round_interval_s=0.2)
    assert wait_for(client, "timed", lambda _: bool(started()))
    (first,) = started()
    assert first.trigger == "time"
    teach(client, "timed", labels(30, 2))
    sleep(0.3)  # due again, and nothing that is said later brings it to mind
    assert len(started()) == 1
    client.cancel_round(first.round_id)
    assert wait_for(client, "timed", lambda _: len(started()) == 2)
    assert started()[0].trigger == "time"
    change(client, "timed", round_interval_s=0.0)
    client.cancel_round(started()[0].round_id)


def test_audits_that_contradict_the_answers_start_a_round(client: Client) -> None:
    taught(client, "drifting")
    change(client, "drifting", round_on_drift=True)
    answers = client.predict_many("drifting", [text for text, _ in labels(100, 60)])
    audit(client, "drifting", answers[:30], {})
    assert client.list_rounds("drifting") == []
    following = dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True))
    audit(client, "drifting", answers[30:], following)
    assert wait_for(client, "drifting", lambda _: bool(client.list_rounds("drifting")))
    (started,) = client.list_rounds("drifting")
    assert (started.trigger, client.get_model("drifting").drift.alarm) == ("drift", "error")
    client.cancel_round(started.round_id)


def audit(client: Client, model: str, answers: list[Prediction], wrong: dict[str, str]) -> None:
    """Says that answers were right, or what would have been."""
    client.submit_many(
        model,
        [
            FeedbackItem(
                one.text, wrong.get(one.label, one.label), FeedbackKind.AUDIT, one.prediction_id
            )
            for one in answers
        ],
    )


def change(client: Client, model: str, **settings: object) -> None:
    client.set_policy(model, replace(client.get_model(model).policy, **settings))


def test_what_is_missing_is_said(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.create_model("empty")
    with pytest.raises(InvalidRequest, match="fewer than two labels"):
        client.start_round("empty")
    taught(client, "paused", 10)
    client.pause("paused")
    with pytest.raises(InvalidRequest, match="paused"):
        client.start_round("paused")
    client.resume("paused")
    monkeypatch.setitem(sys.modules, "peft", None)  # as if it were not installed
    with pytest.raises(InvalidRequest, match=r"needs peft; install honed\[train\]"):
        client.start_round("paused")
