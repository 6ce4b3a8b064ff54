"""What the guard refuses is on record before anything serves without it, whatever comes between."""

from pathlib import Path

import apsw
import psutil
from journeys import (
    TOLERANCE,
    ask_until,
    caught_up,
    decisions,
    fresh_lane,
    held,
    items,
    logit_error,
    serving,
    states,
    wait_for,
)
from test_guard import BASE, POISON, TEXTS, anchors_right, guarded
from test_left_calls import held_registry

from honed import Client


def refused(client: Client, model: str) -> set[int]:
    """Log positions of the labels in quarantine."""
    return {r.position for r in client.list_feedback(model) if r.state == "quarantined"}


def on_record(client: Client, model: str) -> set[int]:
    """Log positions that decisions of the guard name."""
    return {p for _, n in decisions(client, model, "quarantine") for p in n["positions"]}


def test_while_refusals_cannot_be_recorded_nothing_serves_without_them(server, client, name):
    guarded(client, name)
    before = client.get_model(name)
    with held_registry(server):
        acks = client.submit_many(name, items(POISON, submitter="vandal"), wait=True, timeout_s=2)
        assert not any(ack.served for ack in acks)
        assert client.get_model(name).revision == before.revision
    after = wait_for(client, name, caught_up)
    assert after.revision == after.log_position > before.revision
    assert len(refused(client, name)) > 10
    assert on_record(client, name) == refused(client, name)


def test_a_server_that_is_killed_between_two_stores_leaves_no_refusal_without_a_record(tmp_path):
    home: Path = tmp_path / "h"
    with serving(home) as server, server.client() as client:
        right = guarded(client, "m")
        before = wait_for(client, "m", caught_up)
        (adapt,) = psutil.Process(server.process.pid).children()
        with held(adapt.pid):
            client.submit_many("m", items(POISON, submitter="vandal"))
            log = apsw.Connection(str(home / "feedback.sqlite"))
            log.execute("BEGIN IMMEDIATE")
        ask_until(lambda: bool(on_record(client, "m")))
        assert client.get_model("m").revision == before.revision
        assert states(client, "m") == ["active"] * (len(BASE) + len(POISON))
        server.kill()
    log.close()
    with serving(home) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.adapt_state == "running" and caught_up(one))
        assert len(refused(client, "m")) > 10
        assert refused(client, "m") <= on_record(client, "m")
        assert anchors_right(client, "m") >= right - 2
        assert logit_error(client, "m", fresh_lane(home, client, "m").head, TEXTS) < TOLERANCE
