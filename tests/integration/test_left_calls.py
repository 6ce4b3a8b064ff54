"""Decisions whose callers leave meanwhile are made wholly; those whose models leave, not at all."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.message import Message
from journeys import (
    ask_until,
    candidate,
    caught_up,
    decisions,
    examples,
    files_holding,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import RunningServer
from honed import Client, DeadlineExceeded, NotFound, Policy
from honed_proto.v1 import models_pb2 as pb

GOOD = examples(slice(2))
MORE = [("is it lost", "lost"), ("I think that it was lost", "lost")]


@contextmanager
def held_registry(server: RunningServer) -> Iterator[None]:
    """Nothing goes on record meanwhile: what is decided waits for that."""
    began, end = threading.Event(), threading.Event()

    def hold(_db: object) -> None:
        began.set()
        end.wait(60)

    held = server.server.catalogue.registry.database.write(hold)
    assert began.wait(30)
    try:
        yield
    finally:
        end.set()
        held.result(30)


def left(server: RunningServer, method: str, request: Message) -> None:
    """Calls, and hangs up while the server is about to record what is decided."""
    lock = server.server.catalogue.entry(request.model).lock
    with held_registry(server), grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(f"/honed.v1.Models/{method}")
        future = call.future(request.SerializeToString(), timeout=60)
        ask_until(lock.locked)
        future.cancel()
        ask_until(lambda: server.run(goes_on()))
    ask_until(lambda: not lock.locked())


async def goes_on() -> bool:
    """Whether the server has heard that a caller left, and does what was asked all the same."""
    return any(task.cancelling() for task in asyncio.all_tasks())


def teach_more(client: Client, name: str) -> None:
    """Returns when nothing more comes of it that the server would have to record."""
    teach(client, name, MORE)
    wait_for(client, name, caught_up)


def assert_whole(server: RunningServer, client: Client, name: str) -> None:
    """What serves is what a server would serve that starts now, to the version and the pause."""
    row = server.server.catalogue.registry.model(name)
    model = client.get_model(name)
    assert row is not None
    assert (model.version, model.adaptation_paused) == (row.active_version, row.paused)
    assert (model.suspect_from, model.suspect_to) == (row.suspect_from, row.suspect_to)
    assert client.predict(name, "is it lost").version == row.active_version
    active = [one.version for one in client.list_versions(name) if one.state == "active"]
    assert active == [row.active_version]


def assert_paused(client: Client, name: str) -> None:
    revision = client.get_model(name).revision
    ack = client.submit(model=name, text="it got lost", label="lost", wait=True, timeout_s=30)
    assert not ack.served
    assert client.get_model(name).revision == revision


def test_a_pause(server, client, name):
    taught(client, name, GOOD)
    left(server, "PauseAdaptation", pb.PauseAdaptationRequest(model=name, requested_by="ada"))
    assert_whole(server, client, name)
    ((decision, _),) = decisions(client, name, "pause")
    assert (decision.outcome, decision.actor) == ("paused", "ada")
    assert_paused(client, name)
    assert not client.resume(name).adaptation_paused
    teach(client, name, MORE)


def test_a_resumption(server, client, name):
    taught(client, name, GOOD)
    client.pause(name)
    left(server, "ResumeAdaptation", pb.ResumeAdaptationRequest(model=name, requested_by="ada"))
    assert_whole(server, client, name)
    ((decision, _),) = decisions(client, name, "resume")
    assert (decision.outcome, decision.actor) == ("resumed", "ada")
    teach(client, name, MORE)
    assert client.predict(name, "is it lost").label == "lost"


def test_a_rollback(server, client, name):
    taught(client, name, GOOD)
    teach_more(client, name)
    client.promote(name)
    left(server, "Rollback", pb.RollbackRequest(model=name, requested_by="ada"))
    assert_whole(server, client, name)
    model = client.get_model(name)
    assert (model.version, model.suspect_from > 0) == (2, True)
    ((decision, _),) = decisions(client, name, "rollback")
    assert (decision.version, decision.actor) == (2, "ada")
    assert_paused(client, name)
    client.resume(name)
    teach(client, name, [("my parcel is lost", "lost")])


def test_a_rollback_whose_deadline_passes(server, client, name):
    taught(client, name, GOOD)
    teach_more(client, name)
    client.promote(name)
    with held_registry(server):
        with server.client() as hasty, pytest.raises(DeadlineExceeded):
            hasty.rollback(name, timeout_s=3)
        ask_until(lambda: server.run(goes_on()))
    assert client.rollback(name, 2).version == 2  # waits for the one before
    assert_whole(server, client, name)
    assert [one.version for one, _ in decisions(client, name, "rollback")] == [2, 2]


def test_a_promotion(server, client, name):
    taught(client, name, GOOD)
    with trainer(server.config.home) as door:
        head = saved_head(server.config.home, name, 2)
        number = door.offer(candidate(client, name, head)).number
    teach_more(client, name)
    request = pb.PromoteRequest(model=name, version=number, requested_by="ada")
    left(server, "Promote", request)
    assert_whole(server, client, name)
    assert client.get_model(name).version == number
    (*_, (decision, _)) = decisions(client, name, "promote")
    assert (decision.version, decision.outcome, decision.actor) == (number, "promoted", "ada")
    teach(client, name, [("my parcel is lost", "lost")])


def test_a_checkpoint(server, client, name):
    taught(client, name, GOOD)
    teach_more(client, name)
    left(server, "Promote", pb.PromoteRequest(model=name, requested_by="ada"))
    assert_whole(server, client, name)
    assert [one.state for one in client.list_versions(name)] == ["retired", "retired", "active"]
    ((decision, _),) = decisions(client, name, "promote")
    assert (decision.version, decision.actor) == (3, "ada")
    teach(client, name, [("my parcel is lost", "lost")])


def test_a_policy(server, client, name):
    taught(client, name, GOOD)
    with trainer(server.config.home) as door:
        head = saved_head(server.config.home, name, 2)
        assert door.offer(candidate(client, name, head)).outcome == "candidate"
    wait_for(client, name, lambda model: model.trial is not None)
    policy = pb.Policy(promotion=pb.Policy.PROMOTION_MANUAL)
    left(server, "SetPolicy", pb.SetPolicyRequest(model=name, policy=policy, requested_by="ada"))
    assert client.get_model(name).policy.promotion == "manual"
    ((decision, _),) = decisions(client, name, "policy")
    assert (decision.outcome, decision.actor) == ("set", "ada")
    # Its trial ends with it: promotion is left to a person.
    assert client.get_model(name).trial is None
    assert_whole(server, client, name)


@pytest.mark.parametrize(
    "change",
    [
        lambda client, name: client.import_anchor(name, [("it is lost", "lost")]),
        lambda client, name: client.resume(name),
        lambda client, name: client.rollback(name, 1),
        lambda client, name: client.set_policy(name, Policy(promotion="manual")),
        lambda client, name: client.promote(name),
        lambda client, name: client.delete(name, submitter="ada"),
        lambda client, name: client.delete_model(name),
    ],
    ids=["anchors", "resume", "rollback", "policy", "promote", "deletion", "removal"],
)
def test_what_waits_for_a_removal_finds_no_model(
    server: RunningServer, client: Client, name: str, change: Callable[[Client, str], object]
):
    """And leaves nothing behind."""
    taught(client, name, GOOD)
    client.pause(name)
    entry = server.server.catalogue.entry(name)
    with ThreadPoolExecutor(2) as pool:
        with held_registry(server):
            removal = pool.submit(client.delete_model, name)
            ask_until(entry.lock.locked)
            late = pool.submit(change, client, name)
            ask_until(lambda: bool(entry.lock._waiters))
        assert removal.result(30) == len(GOOD)
        with pytest.raises(NotFound, match="deleted") as caught:
            late.result(30)
    assert caught.value.reason == "UNKNOWN_MODEL"
    assert not server.server.catalogue.log.anchors(name)
    assert server.server.catalogue.registry.decisions_of(name, "delete")
    assert not server.server.catalogue.registry.decisions_of(name, "policy")


def test_what_is_said_of_a_model_while_it_is_removed_goes_with_it(
    server: RunningServer, client: Client, name: str
):
    taught(client, name, GOOD)
    log = server.server.catalogue.log
    before = log.last_position(name)
    with ThreadPoolExecutor(1) as pool:
        with held_registry(server):
            removal = pool.submit(client.delete_model, name)
            ask_until(lambda: log.last_position(name) > before)
            assert client.submit(model=name, text="where is zebrawood 7", label="lost").position
        assert removal.result(30) == len(GOOD) + 1
    assert files_holding(server.config.home, "zebrawood") == []
