"""Candidates on trial, canaries and rollback by evidence: audits decide, and nothing else does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from journeys import (
    Trainer,
    ask_until,
    candidate,
    decisions,
    examples,
    items,
    saved_head,
    shuffled,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import RunningServer, running
from honed import Client, FeedbackKind, InvalidRequest, Model, Policy

GOOD = examples(slice(3))
INTENTS = list(dict.fromkeys(label for _, label in GOOD))
# What nobody has taught, and what half of it a vandal has called "track".
FRESH = examples(slice(4, 6))
NONSENSE = [(f"{text}, please", "track") for text, label in FRESH if label in INTENTS[1:4]]
SPOILED = [(text, label) for text, label in FRESH if label in INTENTS[1:4]]


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def tried(server: RunningServer, client: Client, name: str, door: Trainer, **policy: object) -> int:
    """A model that half its labels have spoiled, with a good head on trial; that one's number."""
    taught(client, name, [*GOOD, *NONSENSE])
    client.set_policy(name, replace(Policy(), **policy))
    taught(client, f"{name}-good", GOOD)
    head = saved_head(server.config.home, f"{name}-good", 2)
    verdict = door.offer(candidate(client, name, head))
    assert verdict.outcome == "candidate", verdict.reason
    wait_for(client, name, lambda model: model.trial is not None)
    return verdict.number


def audited(client: Client, name: str, total: int) -> Model:
    """The model when so many audits have voted."""
    return wait_for(client, name, lambda model: model.trial and model.trial.total == total)


def test_a_candidate_that_audits_prove_better_is_promoted_and_then_watched(
    server, client, name, door
):
    number = tried(server, client, name, door)
    first = client.get_model(name)
    assert (first.version, first.trial.version, first.trial.stage) == (2, number, "shadow")
    # The first candidate may cost six parts in pi squared of 5 %.
    assert first.trial.e_needed == pytest.approx(32.9, abs=0.01)

    client.submit_many(name, items(SPOILED[:4]))
    four = audited(client, name, 4)
    assert (four.version, four.trial.wins, four.trial.losses) == (2, 4, 0)
    client.submit_many(name, items(SPOILED[4:]))
    model = wait_for(client, name, lambda model: model.version == number)
    (*_, (decision, numbers)) = decisions(client, name, "gate")
    assert (decision.outcome, decision.version, decision.actor) == ("promoted", number, "gate")
    assert decision.reason.startswith("on trial: better: ")
    assert numbers["audit_wins"] >= 8
    assert numbers["e_better"] >= numbers["e_needed"] > 32
    assert 0 < numbers["p99_ratio"] <= numbers["p99_ratio_limit"]
    (*_, (ended, _)) = decisions(client, name, "trial")
    assert (ended.outcome, ended.version) == ("promoted", number)
    states = {version.version: version.state for version in client.list_versions(name)}
    assert states[number] == "active"

    before = max(version for version, state in states.items() if state == "retired")
    model = wait_for(client, name, lambda model: model.trial is not None)
    assert (model.trial.stage, model.trial.version, model.trial.total) == ("watch", before, 0)


def test_corrections_alone_promote_nothing(server, client, name, door):
    number = tried(server, client, name, door)
    teach(client, name, SPOILED, kind=FeedbackKind.CORRECTION)
    teach(client, name, [("where is it", "track")], kind=FeedbackKind.CONFIRMATION)
    # Texts that were labelled before do not vote either: whoever learned them would know them.
    client.submit_many(name, items(SPOILED), wait=True, timeout_s=30)
    (again,) = client.submit_many(name, items([(f"hello, {SPOILED[0][0]}", SPOILED[0][1])]))
    model = audited(client, name, 1)
    assert again.position > model.version
    assert model.version != number
    assert {version.version: version.state for version in client.list_versions(name)}[
        number
    ] == "candidate"


def test_a_candidate_that_audits_prove_worse_is_refused(server, client, name, door):
    taught(client, name, GOOD)
    head = shuffled(saved_head(server.config.home, name, 2))
    number = door.offer(candidate(client, name, head)).number
    client.submit_many(name, items(FRESH))
    ask_until(lambda: bool(decisions(client, name, "trial")))
    assert client.get_model(name).version == 2
    ((decision, numbers),) = decisions(client, name, "trial")
    assert (decision.outcome, decision.version) == ("refused", number)
    assert numbers["e_worse"] >= 20
    assert client.list_versions(name)[number - 1].state == "refused"


def test_deleted_and_retracted_audits_lose_their_vote(server, client, name, door):
    tried(server, client, name, door)
    acks = client.submit_many(name, items(SPOILED[:5]))
    audited(client, name, 5)
    client.delete(name, [acks[0].feedback_id])
    assert audited(client, name, 4).trial.wins == 4
    client.retract(name, acks[1].feedback_id, wait=True)
    client.submit_many(name, items(SPOILED[5:6]))
    assert audited(client, name, 4).trial.wins == 4


def test_a_version_that_audits_prove_worse_is_rolled_back(server, client, name, door):
    taught(client, name, GOOD)
    head = shuffled(saved_head(server.config.home, name, 2))
    number = door.offer(candidate(client, name, head)).number
    assert client.promote(name, number, requested_by="ada").version == number
    assert decisions(client, name, "trial")[-1][0].outcome == "overridden"
    with client.watch(name, timeout_s=20) as events:
        next(events)
        client.submit_many(name, items(FRESH))
        rolled = next(event.model for event in events if event.kind == "rollback")
    assert (rolled.version, rolled.adaptation_paused) == (2, True)
    ((decision, numbers),) = decisions(client, name, "rollback")
    assert (decision.actor, decision.version) == ("gate", 2)
    assert decision.reason.startswith("it is worse: ")
    assert numbers["suspect_to"] >= numbers["suspect_from"] > 0
    assert numbers["e_better"] >= numbers["e_needed"] == 20


def test_a_promotion_by_hand_is_compared_with_what_served_not_with_an_older_version(
    server, client, name, door
):
    """So that a rollback suspects nothing that had been learned before."""
    taught(client, name, GOOD)
    head = shuffled(saved_head(server.config.home, name, 2))
    number = door.offer(candidate(client, name, head)).number
    teach(client, name, [("is it lost", "lost")])
    learned = client.get_model(name).revision
    client.promote(name, number)
    model = wait_for(client, name, lambda model: model.trial and model.trial.stage == "watch")
    before = next(one for one in client.list_versions(name) if one.version == model.trial.version)
    assert (before.source, before.log_position) == ("checkpoint", learned)
    assert before.version > number


def test_an_error_that_was_corrected_before_its_audit_votes(server, client, name, door):
    """The review queue audits what was answered, whether or not somebody has corrected it since."""
    tried(server, client, name, door)
    asked = client.predict_many(name, [text for text, _ in SPOILED[:4]])
    wrong = [
        (prediction, label)
        for prediction, (_, label) in zip(asked, SPOILED[:4], strict=True)
        if prediction.label != label
    ]
    assert wrong
    for prediction, label in wrong:
        client.submit(prediction, label=label, kind=FeedbackKind.CORRECTION, wait=True)
    for prediction, label in wrong * 2:  # but only once each
        client.submit(prediction, label=label, kind=FeedbackKind.AUDIT)
    model = audited(client, name, len(wrong))
    assert model.trial.wins == len(wrong)
    # What was learned before it was answered, or is audited without an answer, has no vote.
    text, label = SPOILED[5]
    teach(client, name, [(text, label)], kind=FeedbackKind.CORRECTION)
    later = client.predict(name, text)
    client.submit(later, label=label, kind=FeedbackKind.AUDIT)
    client.submit_many(name, items(SPOILED[4:5]))
    assert audited(client, name, len(wrong) + 1).trial.total == len(wrong) + 1


def test_the_policy_can_keep_what_proves_worse(server, client, name, door):
    taught(client, name, GOOD)
    client.set_policy(name, Policy(keep_worse=True))
    head = shuffled(saved_head(server.config.home, name, 2))
    number = door.offer(candidate(client, name, head)).number
    client.promote(name, number)
    client.submit_many(name, items(FRESH))
    wait_for(client, name, lambda _: decisions(client, name, "trial")[-1][0].outcome == "kept")
    assert not client.get_model(name).adaptation_paused


def test_a_canary_answers_its_share_in_its_own_name(server, client, name, door):
    number = tried(server, client, name, door, canary_share=0.3)
    wait_for(client, name, lambda model: model.trial.stage == "canary")
    texts = [f"where is order {n}" for n in range(120)]
    predictions = client.predict_many(name, texts)
    by_canary = [p for p in predictions if p.version == number]
    assert 0.18 < len(by_canary) / len(texts) < 0.42
    assert {p.version for p in predictions} == {2, number}
    again = client.predict_many(name, texts[:20])
    assert [p.version for p in again] == [p.version for p in predictions[:20]]
    # Its answers are evidence as the others' are: audits of them are answered by what serves too.
    asked = client.predict_many(name, [text for text, _ in SPOILED])
    for prediction, (_, label) in zip(asked, SPOILED, strict=True):
        client.submit(prediction, label=label, kind=FeedbackKind.AUDIT)
    wait_for(client, name, lambda model: model.version == number)
    (*_, (_, numbers)) = decisions(client, name, "gate")
    assert numbers["audit_losses"] == 0

    assert len({p.version for p in client.predict_many(name, texts[:20])}) == 1


def test_a_newer_candidate_takes_the_place_of_an_older_one(server, client, name, door):
    older = tried(server, client, name, door)
    head = saved_head(server.config.home, f"{name}-good", 2)
    newer = door.offer(candidate(client, name, head)).number
    model = wait_for(client, name, lambda model: model.trial and model.trial.version == newer)
    assert model.trial.e_needed == pytest.approx(4 * 32.9, abs=0.1)  # the second may cost less
    ((decision, _),) = decisions(client, name, "trial")
    assert (decision.outcome, decision.version) == ("superseded", older)


def test_a_person_decides_where_the_policy_says_so(server, client, name, door):
    number = tried(server, client, name, door)
    model = client.set_policy(name, Policy(promotion="manual"), requested_by="ada")
    assert (model.policy.promotion, model.policy.alpha, model.trial) == ("manual", 0.05, None)
    ((decision, numbers),) = decisions(client, name, "policy")[1:]
    assert (decision.outcome, decision.actor) == ("set", "ada")
    assert (decision.reason, numbers["promotion"]) == ("changes promotion", "manual")
    client.submit_many(name, items(SPOILED), wait=True, timeout_s=30)
    assert client.get_model(name).trial is None
    assert client.promote(name, number).version == number


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"alpha": 0.6}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"loss_share": -0.1}, "loss_share"),
        ({"canary_share": 0.7}, "canary_share"),
        ({"coverage": 1.0}, "coverage"),
        ({"round_interval_s": -1.0}, "round_interval"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(client, name, settings, field):
    client.create_model(name)
    before = client.get_model(name).policy
    with pytest.raises(InvalidRequest) as caught:
        client.set_policy(name, Policy(**settings))
    assert caught.value.reason == "BAD_POLICY"
    assert list(caught.value.violations) == [f"policy.{field}"]
    assert client.get_model(name).policy == before


@contextmanager
def opened(home) -> Iterator[tuple[RunningServer, Client, Trainer]]:
    with (
        running(home, example=False, policy={"canary_share": 0.25}) as server,
        server.client(timeout_s=30) as client,
        trainer(home) as door,
    ):
        yield server, client, door


def test_a_trial_goes_on_after_a_restart(tmp_path):
    with opened(tmp_path / "h") as (server, client, door):
        number = tried(server, client, "m", door, canary_share=0.5)
        assert client.get_model("m-good").policy.canary_share == 0.25  # the server's own default
        client.submit_many("m", items(SPOILED[:5]))
        before = audited(client, "m", 5)
    with opened(tmp_path / "h") as (_, client, _):
        after = audited(client, "m", 5)
        assert (after.policy, after.trial) == (before.policy, before.trial)
        wait_for(client, "m", lambda model: model.adapt_state == "running")
        client.submit_many("m", items(SPOILED[5:]))
        wait_for(client, "m", lambda model: model.version == number)
        wait_for(client, "m", lambda model: model.trial and model.trial.stage == "watch")
    with opened(tmp_path / "h") as (_, client, _):
        watched = wait_for(client, "m", lambda model: model.trial is not None)
        assert (watched.trial.stage, watched.trial.e_needed) == ("watch", 20)
