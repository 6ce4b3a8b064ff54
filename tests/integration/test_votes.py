"""One submitter among others does not decide what serves; one who is alone does."""

from collections.abc import Iterator

import pytest
from journeys import (
    Trainer,
    candidate,
    decisions,
    examples,
    items,
    saved_head,
    shuffled,
    taught,
    trainer,
    wait_for,
)

from harness import RunningServer
from honed import Client, FeedbackKind

GOOD = examples(slice(3))
FRESH = examples(slice(4, 6))
TEAM = [f"ann-{n}" for n in range(25)]


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def audited_by_a_team(client: Client, name: str) -> None:
    """A model whose last two hundred audits with a name came from 25 people, eight of each."""
    taught(client, name, GOOD)
    texts = [(f"{text}, number {n}", label) for n in range(40) for text, label in GOOD][:200]
    for at, who in enumerate(TEAM):
        client.submit_many(name, items(texts[at::25], submitter=who, kind=FeedbackKind.AUDIT))
    wait_for(client, name, lambda model: model.settled, timeout_s=60)


def promoted_and_worse(server: RunningServer, client: Client, name: str, door: Trainer) -> int:
    """Serves a head by hand that answers nothing rightly, and is watched; its version."""
    client.promote(name)  # what was learned, as a version
    version = client.get_model(name).version
    head = shuffled(saved_head(server.config.home, name, version))
    number = door.offer(candidate(client, name, head)).number
    client.promote(name, number)
    wait_for(client, name, lambda model: model.trial and model.trial.stage == "watch")
    return number


def test_one_of_many_does_not_roll_a_version_back(server, client, name, door):
    audited_by_a_team(client, name)
    number = promoted_and_worse(server, client, name, door)
    assert len(FRESH) > 7
    client.pause(name)  # so that what serves stays what it is
    client.submit_many(name, items(FRESH, submitter="mallory"))
    model = wait_for(client, name, lambda model: model.trial and model.trial.over_cap)
    assert (model.version, model.trial.total, model.trial.wins) == (number, 1, 1)
    assert model.trial.over_cap == len(FRESH) - 1

    others = [(f"hello, {text}", label) for text, label in FRESH]
    for who, one in zip(TEAM, others, strict=False):
        client.submit_many(name, items([one], submitter=who))
    wait_for(client, name, lambda model: model.version != number)
    ((decision, numbers),) = decisions(client, name, "rollback")
    assert decision.actor == "gate"
    assert numbers["audit_over_cap"] == len(FRESH) - 1
    assert numbers["audit_total"] >= numbers["audit_wins"] >= 7


def test_the_only_auditor_does(server, client, name, door):
    taught(client, name, GOOD, submitter="ann")
    promoted_and_worse(server, client, name, door)
    client.submit_many(name, items(FRESH, submitter="ann"))
    wait_for(client, name, lambda model: decisions(client, name, "rollback"))
    ((_, numbers),) = decisions(client, name, "rollback")
    assert numbers["audit_over_cap"] == 0
