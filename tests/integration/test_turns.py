"""What serves and what its trial says agree: after a crash, a damaged file, a pause."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from journeys import (
    Trainer,
    candidate,
    decisions,
    examples,
    items,
    saved_head,
    taught,
    trainer,
    wait_for,
)

from harness import RunningServer, running
from honed import Client
from honed_server.models.catalogue import decision
from honed_server.models.registry import Registry

GOOD = examples(slice(2))
# What half of it a vandal has called "track", and the other half nobody has taught.
FRESH = [(text, label) for text, label in examples(slice(4, 6)) if label != "track"]
NONSENSE = [(f"{text}, please", "track") for text, _ in FRESH]


@contextmanager
def opened(home: Path) -> Iterator[tuple[RunningServer, Client, Trainer]]:
    with (
        running(home, example=False) as server,
        server.client() as client,
        trainer(home) as door,
    ):
        yield server, client, door


def offered(server: RunningServer, client: Client, door: Trainer) -> int:
    """A model that nonsense has spoiled, offered a good head; that one's version."""
    taught(client, "m", [*GOOD, *NONSENSE])
    taught(client, "good", GOOD)
    head = saved_head(server.config.home, "good", 2)
    verdict = door.offer(candidate(client, "m", head))
    assert verdict.outcome == "candidate", verdict.reason
    return verdict.number


def spoil(home: Path, number: int) -> None:
    file = home / "models" / "m" / "versions" / str(number) / "head.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"torn")


def state(client: Client, number: int) -> str:
    return next(one.state for one in client.list_versions("m") if one.version == number)


def test_a_candidate_that_is_damaged_when_audits_prove_it_better_is_not_promoted(tmp_path):
    with opened(tmp_path) as (server, client, door):
        number = offered(server, client, door)
        wait_for(client, "m", lambda model: model.trial is not None)
        before = client.get_model("m").version
        client.submit_many("m", items(FRESH[:2]))
        wait_for(client, "m", lambda model: model.trial and model.trial.total == 2)
        spoil(tmp_path, number)
        client.submit_many("m", items(FRESH[2:]))
        wait_for(client, "m", lambda model: model.trial is None)
        (*_, (ended, numbers)) = decisions(client, "m", "trial")
        assert (ended.outcome, ended.version) == ("refused", number)
        assert "it cannot serve" in ended.reason
        assert numbers["e_better"] >= numbers["e_needed"]
        assert state(client, number) == "damaged"
        assert client.get_model("m").version not in (number, 0)
        assert client.get_model("m").version >= before
        promoted = [d.version for d, _ in decisions(client, "m", "gate") if d.outcome == "promoted"]
        assert number not in promoted


@pytest.mark.parametrize("crash", ["damaged", "serves", "never tried"])
def test_a_start_makes_of_a_trial_what_has_become_of_its_candidate(tmp_path, crash):
    with opened(tmp_path) as (server, client, door):
        number = offered(server, client, door)
        wait_for(client, "m", lambda model: model.trial is not None)
        before = client.get_model("m").version
    with closing(Registry(tmp_path / "registry.sqlite")) as registry:
        if crash == "damaged":
            spoil(tmp_path, number)
        elif crash == "serves":  # the end of its trial and the watch were not recorded
            record = decision("m", "gate", "promoted", actor="gate", reason="x", version=number)
            registry.activate("m", number, record).result()
        else:  # the version was recorded, its trial was not
            registry.database.write(lambda db: db.execute("DELETE FROM trials")).result()
    with opened(tmp_path) as (_, client, _):
        if crash == "damaged":
            wait_for(client, "m", lambda _: bool(decisions(client, "m", "trial")))
            ((ended, _),) = decisions(client, "m", "trial")
            assert (ended.outcome, ended.version) == ("refused", number)
            assert state(client, number) == "damaged"
            assert client.get_model("m").version == before
            return
        trial = wait_for(client, "m", lambda model: model.trial is not None).trial
        if crash == "serves":
            assert (trial.stage, trial.version) == ("watch", before)
            ((ended, _),) = decisions(client, "m", "trial")
            assert (ended.outcome, ended.version) == ("promoted", number)
        else:
            assert (trial.stage, trial.version) == ("shadow", number)


def test_a_candidate_that_came_while_learning_was_paused_is_tried_when_it_goes_on(tmp_path):
    with opened(tmp_path) as (_, client, door):
        taught(client, "m", [*GOOD, *NONSENSE])
        taught(client, "good", GOOD)
        client.pause("m")
        head = saved_head(tmp_path, "good", 2)
        number = door.offer(candidate(client, "m", head)).number
        assert client.get_model("m").trial is None
        client.resume("m")
        trial = wait_for(client, "m", lambda model: model.trial is not None).trial
        assert (trial.stage, trial.version) == ("shadow", number)
