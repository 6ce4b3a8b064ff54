"""Enough labels for random features: they serve by themselves, are on record, and replay."""

from pathlib import Path

from journeys import answers, decisions, distance, examples, items, taught, teach, wait_for
from swap_oracle import make_encoder
from test_replay import opened
from test_swap import oracle_server

from harness import RunningServer
from honed import Client, FeedbackKind

TEXTS = [text for text, _ in examples(slice(6, 7))]
ROWS = [
    (f"{text}{ending}", label) for ending in ("", " please") for text, label in examples(slice(5))
]


def imported(client: Client, name: str) -> None:
    """Creates a model of 80 audits, which are as many as get random features."""
    client.create_model(name)
    teach(client, name, ROWS[:80], kind=FeedbackKind.AUDIT)


def test_features_are_on_record_and_answers_from_before_and_after_are_replayed(
    server: RunningServer, client: Client, name: str
) -> None:
    imported(client, name)
    few = client.predict_many(name, TEXTS)
    settled = wait_for(client, name, lambda model: model.settled, timeout_s=60)
    many = client.predict_many(name, TEXTS)
    assert settled.learning.features == 1_024
    ((_, numbers),) = decisions(client, name, "recipe")
    assert numbers["recipe"]["features"] == 1_024
    assert few[0].revision <= numbers["revision"] == many[0].revision
    assert settled.revision == settled.log_position
    assert len(list(client.list_feedback(name))) == 80  # nobody submitted what made that revision
    with opened(server) as door:
        for old in [*few, *many]:
            door.assert_same(old)


def test_labels_that_a_settled_model_learns_and_forgets_leave_its_answers_as_they_were(
    client: Client, name: str
) -> None:
    imported(client, name)
    wait_for(client, name, lambda model: model.settled, timeout_s=60)
    before = answers(client, name, TEXTS)
    sold = [(text, "sold") for text, _ in examples(slice(7, 8))[:7]]
    acks = teach(client, name, sold)
    assert client.predict(name, sold[0][0]).label == "sold"
    client.delete(name, [ack.feedback_id for ack in acks])
    assert distance(before, answers(client, name, TEXTS)) <= 1e-4


def test_a_paused_model_is_settled_and_grows_once_it_is_resumed(client: Client, name: str) -> None:
    client.create_model(name)
    client.pause(name)
    client.submit_many(name, items(ROWS[:80], kind=FeedbackKind.AUDIT))
    paused = client.get_model(name)
    assert (paused.settled, paused.revision) == (True, 0)
    client.resume(name)
    learned = wait_for(client, name, lambda model: model.settled, timeout_s=60)
    assert (learned.learning.labels, learned.learning.features) == (80, 1_024)


def test_a_rollback_goes_back_to_the_recipe_of_its_version(client: Client, name: str) -> None:
    taught(client, name, ROWS[:60], kind=FeedbackKind.AUDIT)
    before = answers(client, name, TEXTS)
    teach(client, name, ROWS[60:80], kind=FeedbackKind.AUDIT)
    wait_for(client, name, lambda model: model.settled, timeout_s=60)
    client.promote(name)
    client.rollback(name, 2)
    client.resume(name, exclude_suspected=True)
    assert wait_for(client, name, lambda model: model.settled).learning.features == 0
    assert distance(before, answers(client, name, TEXTS)) <= 1e-4
    *_, (decision, numbers) = decisions(client, name, "recipe")
    assert (decision.actor, numbers["recipe"]) == ("rollback", {})


def test_a_recipe_stays_with_the_encoder_that_it_was_decided_over(tmp_path: Path) -> None:
    first = {"features": 1_024, "width": 0.5, "penalty": 0.1, "share": 0.7}
    second = {**first, "width": 3.0}
    with oracle_server(tmp_path) as (server, adapt), server.client() as client:
        adapt.revise("alpha", 2, 0, recipe=first)
        client.promote("alpha")
        digest = make_encoder(server.config.home, tmp_path / "other", 1)
        tuned = adapt.promote("alpha", digest, 1)
        assert adapt.states["alpha"].recipe is None  # to be decided
        adapt.revise("alpha", tuned, 1, recipe=second)
        client.rollback("alpha", tuned)
        adapt.hear_models()
        adapt.hear_models()
        assert adapt.states["alpha"].recipe is None  # the later one is under suspicion
        client.rollback("alpha", 3)
        adapt.hear_models()
        assert adapt.states["alpha"].recipe == first
        found = decisions(client, "alpha", "recipe")
    assert [(one.version, one.actor, numbers["recipe"]) for one, numbers in found] == [
        (2, "experts", first),
        (tuned, "experts", second),
        (tuned, "rollback", None),
    ]
