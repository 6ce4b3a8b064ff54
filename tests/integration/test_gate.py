"""The gate through the offer door: what may serve, what may not, and what stays then."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from journeys import (
    Trainer,
    answers,
    candidate,
    caught_up,
    decisions,
    distance,
    examples,
    saved_head,
    shuffled,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import RunningServer, running
from honed import Client, InvalidRequest
from honed_adapt.head import Head

GOOD, ANCHORS = examples(slice(3)), examples(slice(4, 6))
TEXTS = [text for text, _ in ANCHORS]
INTENTS = list(dict.fromkeys(label for _, label in GOOD))
# Says "track" of half the intents: a model that has learned this as well answers half wrongly.
NONSENSE = [(f"{text}, please", "track") for text, label in ANCHORS if label in INTENTS[1:4]]


@pytest.fixture
def door(server: RunningServer) -> Iterator[Trainer]:
    with trainer(server.config.home) as door:
        yield door


def good_head(server: RunningServer, client: Client, name: str) -> Head:
    """What a model with good labels only has learned."""
    taught(client, f"{name}-good", GOOD)
    return saved_head(server.config.home, f"{name}-good", 2)


def right(client: Client, model: str) -> int:
    predictions = client.predict_many(model, TEXTS)
    return sum(p.label == label for p, (_, label) in zip(predictions, ANCHORS, strict=True))


def test_the_anchor_set_promotes_nobody_and_the_lane_undoes_no_promotion_by_hand(
    server, client, name, door
):
    taught(client, name, [*GOOD, *NONSENSE])
    client.import_anchor(name, ANCHORS)
    head, before = good_head(server, client, name), right(client, name)
    verdict = door.offer(candidate(client, name, head))
    assert (verdict.outcome, verdict.number) == ("candidate", 3)
    assert "no audit has voted" in verdict.reason
    assert client.promote(name, 3).version == 3
    expected = answers(client, f"{name}-good", TEXTS)
    assert distance(answers(client, name, TEXTS), expected) < 1e-4
    assert right(client, name) >= before + 10

    (*_, (decision, numbers)) = decisions(client, name, "gate")
    assert (decision.outcome, decision.version, decision.actor) == ("candidate", 3, "gate")
    after = right(client, name)
    assert (numbers["champion_correct"], numbers["candidate_correct"]) == (before, after)
    assert numbers["anchor_wins"] - numbers["anchor_losses"] >= 10
    assert numbers["e_better"] == 1  # audits alone say that it is better
    *_, two, three = client.list_versions(name)
    assert (two.state, three.state, three.source) == ("retired", "active", "candidate")
    assert three.parent == 2

    # The instant lane still holds the nonsense: what it has learned is worse.
    waited = client.submit(model=name, text="is it lost", label="track", wait=True, timeout_s=1)
    assert not waited.served
    assert distance(answers(client, name, TEXTS), expected) < 1e-4
    # Forgetting is never refused: a fine-tuned head may hold what was deleted.
    first = next(client.list_feedback(name))
    done = client.delete(name, [first.feedback_id])
    assert done.served_version == 4
    assert client.get_model(name).version == 4


def test_a_promoted_candidate_serves_again_after_a_restart(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        for model in ("gated", "by-hand"):
            taught(client, model, [*GOOD, *NONSENSE])
        head = good_head(server, client, "m")
        client.import_anchor("gated", ANCHORS)
        with trainer(home) as door:
            for model in ("gated", "by-hand"):
                offered = door.offer(candidate(client, model, head))
                assert offered.outcome == "candidate"
                assert client.promote(model, offered.number).version == 3
        # Without an anchor set nothing shows that it is no worse; a person may decide.
        assert "without an anchor set" in offered.reason
        expected = answers(client, "m-good", TEXTS)
    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m-good", lambda one: one.adapt_state == "running")
        teach(client, "m-good", [("is it lost", "track")])  # the lanes of all models are built
        for model in ("gated", "by-hand"):
            assert client.get_model(model).version == 3
            assert distance(answers(client, model, TEXTS), expected) < 1e-4
        # The lane of the one is worse by its anchor set; for the other nobody can tell.
        served = [
            client.submit(
                model=model, text="is it lost", label="lost", wait=True, timeout_s=patience
            ).served
            for model, patience in (("gated", 1), ("by-hand", 20))
        ]
        assert served == [False, True]
        assert distance(answers(client, "gated", TEXTS), expected) < 1e-4


def constant(head: Head) -> Head:
    """Says the same of everything."""
    bias = np.zeros_like(head.bias)
    bias[0] = 1
    return replace(head, weight=np.zeros_like(head.weight), bias=bias)


def forgetful(head: Head) -> Head:
    """Does not know the last label."""
    fewer = {name: array[:-1] for name, array in head.arrays().items()}
    return Head.of(head.labels[:-1], fewer, head.settings())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (shuffled, "anchor answers on balance"),
        (constant, "to every anchor text"),
        (forgetful, "no longer knows 1 labels, 'stock'"),
    ],
)
def test_a_bad_candidate_is_refused_and_the_running_one_goes_on(
    server, client, name, door, spoil, why
):
    taught(client, name, GOOD)
    client.import_anchor(name, ANCHORS)
    before, now = answers(client, name, TEXTS), client.get_model(name)
    verdict = door.offer(candidate(client, name, spoil(saved_head(server.config.home, name, 2))))
    assert verdict.outcome == "refused"
    assert why in verdict.reason
    assert distance(answers(client, name, TEXTS), before) < 1e-6
    assert client.get_model(name) == now
    (*_, (decision, numbers)) = decisions(client, name, "gate")
    assert (decision.outcome, decision.reason) == ("refused", verdict.reason)
    assert numbers["champion_correct"] >= len(ANCHORS) - 1
    assert (numbers["anchor_set"], numbers["anchor_total"]) == (1, len(ANCHORS))
    (*_, version) = client.list_versions(name)
    assert (version.version, version.state) == (verdict.number, "refused")
    teach(client, name, [("is it lost", "lost")])


def test_what_was_learned_from_a_deleted_label_is_never_a_version(server, client, name, door):
    """A deletion that comes while a candidate is learned has marked only the versions there are."""
    first, *_ = taught(client, name, GOOD)
    offer = candidate(client, name, saved_head(server.config.home, name, 2))
    client.delete(name, [first.feedback_id])
    before = client.list_versions(name)
    verdict = door.offer(offer)
    assert (verdict.outcome, verdict.number) == ("stale", 0)
    assert client.list_versions(name) == before


def test_a_candidate_that_holds_a_deleted_label_is_not_promoted_by_hand(server, client, name, door):
    first, *_ = taught(client, name, GOOD)
    offered = door.offer(candidate(client, name, saved_head(server.config.home, name, 2)))
    client.delete(name, [first.feedback_id])
    serving = client.get_model(name).version
    with pytest.raises(InvalidRequest, match="was learned from feedback deleted") as caught:
        client.promote(name, offered.number)
    assert caught.value.reason == "CANNOT_PROMOTE"
    assert client.get_model(name).version == serving


def test_an_identical_candidate_stays_one_and_can_be_promoted_by_hand(server, client, name, door):
    taught(client, name, GOOD)
    client.import_anchor(name, ANCHORS)
    head = saved_head(server.config.home, name, 2)
    verdict = door.offer(candidate(client, name, head))
    assert verdict.outcome == "candidate"
    assert "not proven better" in verdict.reason
    (*_, version) = client.list_versions(name)
    assert (version.version, version.state, version.source) == (3, "candidate", "candidate")
    assert client.get_model(name).version == 2
    assert client.promote(name, 3, requested_by="ada").version == 3
    ((decision, _),) = decisions(client, name, "promote")
    assert (decision.outcome, decision.actor, decision.version) == ("promoted", "ada", 3)
    with pytest.raises(InvalidRequest) as caught:
        client.promote(name, 2)
    assert caught.value.reason == "NOT_A_CANDIDATE"


def test_a_candidate_that_first_knows_a_wanted_label_is_promoted(server, client, name, door):
    taught(client, name, GOOD)
    client.import_anchor(name, [*ANCHORS, ("I want to leave a review", "review")])
    taught(client, f"{name}-more", [*GOOD, ("how do I review a thing", "review")])
    head = saved_head(server.config.home, f"{name}-more", 2)
    verdict = door.offer(candidate(client, name, head))
    assert (verdict.outcome, verdict.number) == ("promoted", 3)
    assert "'review'" in verdict.reason
    model = wait_for(client, name, lambda model: model.trial is not None)
    assert (model.version, model.trial.stage, model.trial.version) == (3, "watch", 2)
    assert "review" in model.labels
    (*_, (decision, numbers)) = decisions(client, name, "gate")
    assert (decision.outcome, decision.version, decision.actor) == ("promoted", 3, "gate")
    assert "detectable" not in numbers
    assert numbers["anchor_detectable"] > 0
    assert numbers["anchor_set"] == 1


def test_no_candidate_is_promoted_while_learning_is_paused(server, client, name, door):
    """After a rollback a person decides what serves."""
    taught(client, name, GOOD)
    client.import_anchor(name, [*ANCHORS, ("I want to leave a review", "review")])
    taught(client, f"{name}-more", [*GOOD, ("how do I review a thing", "review")])
    head = saved_head(server.config.home, f"{name}-more", 2)
    client.pause(name)
    verdict = door.offer(candidate(client, name, head))
    assert verdict.outcome == "candidate"
    assert "learning is paused" in verdict.reason
    assert client.get_model(name).version == 2
    promoted = client.promote(name, verdict.number)
    assert (promoted.version, promoted.adaptation_paused) == (3, True)
    expected = answers(client, f"{name}-more", TEXTS)
    teach(client, f"{name}-more", [("is it lost", "track")])  # the adapt process has been there
    assert distance(answers(client, name, TEXTS), expected) < 1e-4


def test_a_checkpoint_that_is_worse_than_its_version_is_refused_on_record(tmp_path):
    """Retractions are never refused, so that what serves may be worse than the version was."""
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        acks = taught(client, "m", GOOD)
        client.import_anchor("m", ANCHORS[:4])
        client.import_anchor("m", ANCHORS)
        for ack, (_, label) in zip(acks, GOOD, strict=True):
            if label in INTENTS[:2]:
                client.retract("m", ack.feedback_id)
        wait_for(client, "m", caught_up)
        served, before = client.get_model("m"), answers(client, "m", TEXTS)
        assert served.version == 2
        assert served.labels == tuple(INTENTS[2:])
    with running(home, example=False) as server, server.client() as client:
        (*_, (decision, numbers)) = decisions(client, "m", "gate")
        assert (decision.outcome, decision.version) == ("refused", 3)
        assert "it loses 12 of 30 anchor answers on balance" in decision.reason
        assert (numbers["champion_correct"], numbers["candidate_correct"]) == (30, 18)
        assert numbers["anchor_set"] == 2
        assert [v.version for v in client.list_versions("m")] == [1, 2]
        # What was retracted stays retracted: the lane is built from the log.
        again = wait_for(client, "m", caught_up)
        assert (again.version, again.revision, again.labels) == (2, served.revision, served.labels)
        assert distance(answers(client, "m", TEXTS), before) < 1e-4
        # A person may have it as a version all the same.
        assert client.promote("m").version == 3
