"""Offers that must not serve, and frames that are none: refused by name; what runs goes on."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from journeys import (
    Trainer,
    answers,
    candidate,
    distance,
    examples,
    saved_head,
    shuffled,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import RunningServer
from honed_adapt.head import Head
from honed_adapt.process import wire
from honed_adapt.process.findings import Grown
from honed_adapt.process.messages import Candidate, Hello, Revision, encode

GOOD = examples(slice(3))
TEXTS = [text for text, _ in examples(slice(4, 6))]


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def not_finite(head: Head) -> Head:
    weight = head.weight.copy()
    weight[0, 0] = np.nan
    return replace(head, weight=weight)


def too_narrow(head: Head) -> Head:
    return replace(head, weight=head.weight[:, :-1])


def short_of_a_bias(head: Head) -> Head:
    return replace(head, bias=head.bias[:-1])


def twice(head: Head) -> Head:
    return replace(head, labels=(head.labels[0], *head.labels[:-1]))


def too_cold(head: Head) -> Head:
    return replace(head, temperature=0.0)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (not_finite, "weight holds NaN or infinity"),
        (too_narrow, "weight has shape (5, 383), expected (5, 384)"),
        (short_of_a_bias, "bias has shape (4,), expected (5,)"),
        (twice, "label 'track' appears more than once"),
        (too_cold, "temperature is 0.0"),
    ],
)
def test_a_damaged_offer_is_refused_by_name(server, client, name, door, damage, why):
    taught(client, name, GOOD)
    before, now = answers(client, name, TEXTS), client.get_model(name)
    head = damage(saved_head(server.config.home, name, 2))
    revision = Revision(name, 1, now.revision + 1, head, 45, 0, 0, 0)
    for offer in (candidate(client, name, head), revision):
        verdict = door.offer(offer)
        assert verdict.outcome == "refused"
        assert why in verdict.reason
    assert distance(answers(client, name, TEXTS), before) < 1e-6
    assert client.get_model(name) == now
    assert len(client.list_versions(name)) == 2


def test_an_offer_for_what_is_not_there_is_refused_by_name(server, client, name, door):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)
    for digest in ("0" * 64, "../../../etc"):
        verdict = door.offer(Candidate(name, digest, 45, head))
        assert verdict.outcome == "refused"
        assert digest in verdict.reason
    verdict = door.offer(Candidate(f"{name}-x", client.get_model(name).encoder_digest, 45, head))
    assert verdict.outcome == "refused"
    assert f"no model '{name}-x'" in verdict.reason
    verdict = door.offer(Revision(f"{name}-x", 1, 1, head, 45, 0, 0, 0))
    assert (verdict.outcome, verdict.reason) == ("refused", "the model was deleted")


def test_a_revision_of_another_epoch_or_of_the_past_is_refused(server, client, name, door):
    acks = taught(client, name, GOOD)
    head = shuffled(saved_head(server.config.home, name, 2))
    client.pause(name)
    client.resume(name)  # epoch 3
    (ack,) = teach(client, name, [("is it lost", "lost")])
    before = answers(client, name, TEXTS)
    for epoch, revision, why in (
        (1, ack.position + 9, "learned under epoch 1, now is 3"),
        (99, ack.position + 9, "learned under epoch 99, now is 3"),
        (3, acks[0].position, f"older than revision {ack.position}"),
    ):
        verdict = door.offer(Revision(name, epoch, revision, head, 45, 0, 0, 0))
        assert verdict.outcome == "refused"
        assert why in verdict.reason
    assert distance(answers(client, name, TEXTS), before) < 1e-4


def test_a_position_to_grow_at_is_made_only_where_growth_may_serve(server, client, name, door):
    taught(client, name, GOOD)
    head = saved_head(server.config.home, name, 2)

    def position_after_asking(epoch: int) -> int:
        door.say(Grown(name, epoch))
        door.offer(Revision(name, 99, 0, head, 45, 0, 0, 0))  # what is heard is heard in order
        return client.get_model(name).log_position

    last = client.get_model(name).log_position
    assert position_after_asking(99) == last
    grown = position_after_asking(1)
    assert grown > last
    assert wait_for(client, name, lambda model: model.settled).revision == grown
    client.pause(name)  # epoch 2
    assert position_after_asking(2) == grown
    client.resume(name)
    settled = wait_for(client, name, lambda model: model.settled)
    candidate_number = door.offer(candidate(client, name, head)).number
    client.promote(name, candidate_number)  # epoch 4
    held = wait_for(client, name, lambda model: model.settled)
    assert (held.version, held.revision) == (candidate_number, settled.revision)
    assert position_after_asking(4) == settled.log_position


@pytest.mark.parametrize("damage", ["torn", "checksum", "nonsense", "unknown", "endless"])
def test_a_damaged_frame_ends_that_connection_and_nothing_else(server, client, name, damage):
    frame = encode(Hello("trainer", 1))
    data = {
        "torn": frame[:-5],
        "checksum": frame[:-1] + bytes([frame[-1] ^ 1]),
        "nonsense": b"GET / HTTP/1.1\r\n\r\n" + bytes(64),
        "unknown": wire.pack({"type": "Surprise"}),
        "endless": frame[:8] + b"\xff" * (len(frame) - 8),
    }[damage]
    taught(client, name, GOOD)
    pid = server.server.adapt_pid
    with trainer(server.config.home) as door:
        assert door.hangs_up_at(data, end=damage == "torn")
    teach(client, name, [("is it lost", "lost")])
    assert client.predict(name, "is it lost").label == "lost"
    assert server.server.adapt_pid == pid
