"""Everything at once, for seconds here and for ten minutes in `make test-long`.

Labels, relabels, new labels, deletions, rollbacks, promotions and replays for several models,
while clients ask, the adapt process is killed every ten seconds, and the server is killed half way.
"""

import logging
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from client_processes import asking, lines
from journeys import caught_up, examples, fresh_lane, logit_error, taught, wait_for
from mix_client import TEXTS
from mix_driver import (
    Watcher,
    World,
    delete,
    every,
    go_back,
    kill_adapt,
    label,
    promote,
    replay,
    restart,
)
from mix_oracle import History, Published, Seen, Served, Window, check

from harness import ServerProcess
from honed import Client

log = logging.getLogger(__name__)
MODELS = ["parcels", "shop", "returns", "billing"]
# Seconds between two steps of a kind, on average.
STEPS = {label: 0.1, delete: 3, go_back: 5, promote: 4, kill_adapt: 10, replay: 1}


@contextmanager
def world_of(tmp_path: Path, models: list[str]):
    """A server process with models that have learned something; killed at the end."""
    server = ServerProcess(tmp_path / "h", "--no-example")
    world = World(server, tmp_path / "h", models, tmp_path / "spool")
    try:
        with server.client() as client:
            for n, model in enumerate(models):
                taught(client, model, examples(slice(n, n + 2)))
        yield world
    finally:
        world.server.kill()


def mix(world: World, folder: Path, seconds: float, pace: float) -> None:
    """Runs the mix; `pace` is a factor on the time between two steps of each kind."""
    watcher = Watcher(world)
    threads = [every(pace * mean, step, world) for step, mean in STEPS.items()]
    with asking("mix_client.py", world.server.target, world.models, folder, 2, threads=2):
        time.sleep(seconds / 2)
        restart(world)
        time.sleep(seconds / 2)
        world.stop.set()
        for thread in threads:
            thread.join(60)
    watcher.close()
    world.history.seen = [Seen.from_json(line) for line in lines(folder)]


def assert_all_held(world: World) -> None:
    """The promises: whole answers, feedback exactly once, forgetting, replays, equality at rest."""
    assert check(world.history)[:10] == []
    assert world.problems == []
    assert [text for matches, text in world.replays if not matches] == []
    with Client(world.server.target, spool=world.spool) as client:
        client.flush_spool()
        recorded = Counter()
        for model in world.models:
            wait_for(client, model, caught_up, timeout_s=60)
            there = [r for r in client.list_feedback(model) if r.state != "deleted"]
            recorded += Counter(r.idempotency_key for r in there)
            assert_recorded(world, client, model)
            lane = fresh_lane(world.home, client, model)
            assert client.get_model(model).labels == lane.head.labels
            assert logit_error(client, model, lane.head, TEXTS[:20]) < 1e-5
    assert set(world.said) - world.deleting <= set(recorded)
    assert not world.deleted & set(recorded)
    assert set(recorded.values()) == {1}


def assert_recorded(world: World, client: Client, model: str) -> None:
    """What was said stands as it was said, and what was deleted is gone."""
    for record in client.list_feedback(model):
        if record.feedback_id in world.tombstones:
            assert (record.state, record.text) == ("deleted", "")
        elif record.idempotency_key in world.said:
            said_of, item = world.said[record.idempotency_key]
            assert said_of == model
            if record.idempotency_key not in world.deleting:
                assert (record.text, record.label, record.kind) == (
                    item.text,
                    item.label,
                    item.kind,
                )


def test_everything_at_once_keeps_every_promise(tmp_path):
    with world_of(tmp_path, MODELS[:2]) as world:
        mix(world, tmp_path / "seen", seconds=10, pace=0.4)
        assert_all_held(world)
    assert len(world.history.seen) > 300
    assert all(world.counts.get(step.__name__) for step in STEPS), world.counts


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_minutes_of_everything_keep_every_promise(tmp_path):
    with world_of(tmp_path, MODELS) as world:
        mix(world, tmp_path / "seen", seconds=600, pace=1)
        assert_all_held(world)
    log.info("%d answers, %s", len(world.history.seen), world.counts)
    assert world.counts["rollbacks"] >= 30
    assert world.counts["killed"] >= 30


def test_each_broken_promise_is_caught():
    one = Seen("c", 4.0, 5.0, "m", 0, "p", 2, 7, 1, ("a", "b"), (1.0, 0.0), (0.7311, 0.2689))
    told = {one.tag: {Published(1, ("a", "b"), 1.0)}}
    newer = replace(one, sent=2.0, received=3.0, revision=9)
    told[newer.tag] = told[one.tag]
    assert check(History([one], published=told)) == []
    for wrong, named in (
        (replace(one, labels=("a", "c")), "torn"),
        (replace(one, label_set=2), "torn"),
        (replace(one, probabilities=(0.9, 0.1)), "torn"),
        (replace(one, revision=8), "never published"),
        (replace(one, failure="lost"), "failed"),
        (replace(one, sent=6.0, received=7.0, logits=(1.1, 0.1)), "two answers"),
    ):
        assert any(named in problem for problem in check(History([one, wrong], published=told)))
    back = History([newer, one], published=told)
    assert any("went back" in problem for problem in check(back))
    assert check(replace(back, windows=[Window("m", 2.5, 3.5)])) == []
    stale = History([one], served=[Served("m", 1.0, 2.0, 9)], published=told)
    assert any("stale" in problem for problem in check(stale))
