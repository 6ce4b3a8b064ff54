"""A candidate whose encoder is damaged when it is to catch up: it does not serve, and says why."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from journeys import (
    Trainer,
    ask_until,
    decisions,
    held,
    items,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)
from test_catch_up import FRESH, GOOD, LATER, NONSENSE, made

from harness import RunningServer
from honed import Client, InvalidRequest


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def damage(server: RunningServer, digest: str) -> bytes:
    """Puts another file in the place of the encoder's graph; what is open stays as it is."""
    graph = server.config.home / "encoders" / digest / "packed.onnx"
    before = graph.read_bytes()
    restore(server, digest, before[:-1] + bytes([before[-1] ^ 1]))
    return before


def restore(server: RunningServer, digest: str, content: bytes) -> None:
    graph = server.config.home / "encoders" / digest / "packed.onnx"
    aside = graph.with_suffix(".aside")
    aside.write_bytes(content)
    aside.rename(graph)


@contextmanager
def assert_learning_goes_on(server: RunningServer, client: Client, name: str) -> Iterator[None]:
    """In the same adapt process."""
    pid, version = server.server.adapt_pid, client.get_model(name).version
    yield
    teach(client, name, [("can it be repaired", "repair")])
    assert client.predict(name, "can it be repaired").label == "repair"
    assert (server.server.adapt_pid, client.get_model(name).version) == (pid, version)
    os.kill(pid, 0)


def test_an_offer_is_refused(server, client, name, door, tmp_path):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    offer = made(server, client, name, head, tmp_path / "e", tokens=91)
    teach(client, name, LATER)
    entry = server.server.catalogue.entry(name)
    with assert_learning_goes_on(server, client, name), ThreadPoolExecutor() as pool:
        with held(server.server.adapt_pid):
            verdict = pool.submit(door.offer, offer)
            ask_until(lambda: entry.ahead is not None)  # the server itself has opened it
            damage(server, offer.encoder_digest)
        found = verdict.result(30)
        assert found.outcome == "refused"
        assert "packed.onnx is not what manifest.json records" in found.reason
        assert len(client.list_versions(name)) == 2


def test_a_promotion_is_refused_until_the_encoder_is_mended(server, client, name, door, tmp_path):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    offer = made(server, client, name, head, tmp_path / "e", tokens=92)
    number = door.offer(offer).number
    teach(client, name, LATER)
    sound = damage(server, offer.encoder_digest)
    with assert_learning_goes_on(server, client, name):
        for _ in range(2):
            with pytest.raises(InvalidRequest, match=r"packed\.onnx is not what") as refused:
                client.promote(name, number)
            assert refused.value.reason == "ENCODER_DAMAGED"
    restore(server, offer.encoder_digest, sound)
    promoted = client.promote(name, number)
    assert (promoted.version, promoted.revision) == (number, promoted.log_position)


def test_a_trial_that_is_won_ends(server, client, name, door, tmp_path):
    taught(client, name, [*GOOD, *NONSENSE])
    taught(client, f"{name}-good", GOOD)
    head = saved_head(server.config.home, f"{name}-good", 2)
    offer = made(server, client, name, head, tmp_path / "e", tokens=93)
    assert door.offer(offer).outcome == "candidate"
    wait_for(client, name, lambda model: model.trial is not None)
    damage(server, offer.encoder_digest)
    teach(client, name, LATER)
    with assert_learning_goes_on(server, client, name):
        client.submit_many(name, items(FRESH))
        wait_for(client, name, lambda model: model.trial is None, timeout_s=30)
        (*_, (decision, _)) = decisions(client, name, "trial")
        assert decision.outcome == "refused"
        assert "packed.onnx is not what manifest.json records" in decision.reason
