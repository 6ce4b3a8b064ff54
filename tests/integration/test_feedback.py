"""A label's journey through the API: durable, learned, served, withdrawn, and seen by watchers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from journeys import (
    answers,
    ask_until,
    distance,
    examples,
    held,
    states,
    taught,
    teach,
    wait_for,
)

from harness import running
from honed import Conflict, FeedbackItem, FeedbackKind, InvalidRequest, NotFound

PARCEL = "where is the blue jacket that I ordered"


def test_a_new_label_is_served_from_one_example(client, name):
    taught(client, name, examples(slice(2)))
    question = "do I earn loyalty points on this order"
    before = client.predict(name, question)
    ack = client.submit(model=name, text=question, label="loyalty", wait=True)
    after = client.predict(name, "how many loyalty points do I earn with an order", top_k=9)
    assert before.label != "loyalty"
    assert after.label == "loyalty"
    assert ack.served
    assert after.revision >= ack.served_revision >= ack.position > before.revision
    assert after.label_set_version > before.label_set_version
    assert sum(score.probability for score in after.scores) == pytest.approx(1, abs=1e-5)
    assert client.get_model(name).labels[-1] == "loyalty"


def test_an_empty_model_says_that_it_has_learned_nothing(client, name):
    client.create_model(name)
    with pytest.raises(InvalidRequest) as caught:
        client.predict(name, PARCEL)
    assert caught.value.reason == "NOTHING_LEARNED"
    assert caught.value.status == "FAILED_PRECONDITION"


def test_a_correction_remembers_the_answer_that_it_is_about(client, name):
    taught(client, name, examples(slice(2)))
    wrong = client.predict(name, "the order number on my invoice is missing")
    ack = client.submit(wrong, label="invoice", submitter="ada", weight=2.0, wait=True)
    right = client.predict(name, wrong.text)
    assert right.label == "invoice"
    confirmed = client.submit(right, wait=True)
    (record, other) = list(client.list_feedback(name, label="invoice"))
    assert (record.feedback_id, record.kind) == (ack.feedback_id, "correction")
    assert (record.submitter, record.weight, record.text) == ("ada", 2.0, wrong.text)
    assert record.prediction_id == wrong.prediction_id
    assert record.predicted_label == wrong.label
    assert (record.predicted_version, record.predicted_revision) == (wrong.version, wrong.revision)
    assert (other.feedback_id, other.kind) == (confirmed.feedback_id, "confirmation")
    assert [r.feedback_id for r in client.list_feedback(name, submitter="ada")] == [ack.feedback_id]


def test_a_prediction_id_alone_is_enough_also_after_a_restart(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", examples(slice(2)))
        first, second = (client.predict("m", f"{PARCEL} {n} days ago") for n in (3, 4))
        (ack,) = client.submit_many("m", [by_id(first)], wait=True)
        assert ack.served
    with running(home, example=False) as server, server.client() as client:
        (ack,) = client.submit_many("m", [by_id(second)], wait=True)
        assert ack.served
        confirmed = [r for r in client.list_feedback("m") if r.kind == "confirmation"]
        assert [(r.text, r.label) for r in confirmed] == [
            (first.text, first.label),
            (second.text, second.label),
        ]
        (error,) = client.submit_many(
            "m", [FeedbackItem(kind=FeedbackKind.CONFIRMATION, prediction_id="0" * 32)]
        )
        assert isinstance(error, NotFound)
        assert error.reason == "UNKNOWN_PREDICTION"


def by_id(prediction):
    return FeedbackItem(kind=FeedbackKind.CONFIRMATION, prediction_id=prediction.prediction_id)


def test_a_prediction_of_another_model_or_text_is_refused(client, name):
    taught(client, name, examples(slice(1)))
    taught(client, f"{name}-2", examples(slice(1)))
    answer = client.predict(name, PARCEL)
    with pytest.raises(InvalidRequest) as caught:
        client.submit(answer, model=f"{name}-2", label="track")
    assert caught.value.reason == "MODEL_MISMATCH"
    with pytest.raises(InvalidRequest) as caught:
        client.submit(answer, text="something else", label="track")
    assert caught.value.reason == "TEXT_MISMATCH"


def test_a_key_is_recorded_once_and_for_ever(client, name):
    taught(client, name, examples(slice(2)))
    item = FeedbackItem(text=PARCEL, label="lost", idempotency_key="k")
    (first,) = client.submit_many(name, [item], wait=True)
    before = client.predict(name, PARCEL, logits=True)
    again, twin = client.submit_many(name, [item, item], wait=True)
    assert not first.already_recorded
    for ack in (again, twin):
        assert (ack.feedback_id, ack.position) == (first.feedback_id, first.position)
        assert ack.already_recorded
        assert ack.served
    other = FeedbackItem(text=PARCEL, label="found", idempotency_key="k")
    (conflict, fine) = client.submit_many(name, [other, FeedbackItem(text="x y", label="track")])
    assert isinstance(conflict, Conflict)
    assert (conflict.status, conflict.reason) == ("ALREADY_EXISTS", "KEY_CONFLICT")
    assert fine.position > first.position  # the rest of the call is not harmed
    client.delete(name, [fine.feedback_id])
    after = client.predict(name, PARCEL, logits=True)
    assert after.logits == pytest.approx(before.logits, abs=2e-3)  # learned once
    assert len(list(client.list_feedback(name, label="lost"))) == 1


def test_a_retraction_withdraws_a_label_exactly(client, name):
    base = examples(slice(3))
    texts = [text for text, _ in examples(slice(3, 5))]
    taught(client, name, base)
    before = answers(client, name, texts)
    (ack,) = teach(client, name, [(texts[0], "nonsense")])
    assert client.predict(name, texts[0]).label == "nonsense"
    withdrawn = client.retract(name, ack.feedback_id, submitter="ada", wait=True)
    assert withdrawn.served
    assert distance(answers(client, name, texts), before) < 1e-4
    assert "nonsense" not in client.get_model(name).labels
    *_, label, retraction = client.list_feedback(name)
    assert (label.state, label.text) == ("retracted", texts[0])
    assert (retraction.kind, retraction.retracts) == ("retraction", ack.feedback_id)
    with pytest.raises(NotFound) as caught:
        client.retract(name, "f0")
    assert caught.value.reason == "UNKNOWN_FEEDBACK"


def test_a_deleted_retraction_lets_its_label_count_again(client, name):
    taught(client, name, examples(slice(2)))
    (ack,) = teach(client, name, [(PARCEL, "mine")])
    with_it = answers(client, name, [PARCEL])
    retraction = client.retract(name, ack.feedback_id, wait=True)
    client.delete(name, [retraction.feedback_id])
    assert distance(answers(client, name, [PARCEL]), with_it) < 1e-4


def test_the_newest_label_of_the_most_trusted_submitter_counts(client, name):
    """The server's setting trusts `expert` twice as much as others."""
    taught(client, name, examples(slice(2)))
    text = "the left sleeve is longer than the right one"

    def say(label, submitter):
        return client.submit(model=name, text=text, label=label, submitter=submitter, wait=True)

    def answer():
        return client.predict(name, text).label

    say("first", "ada")
    say("second", "bob")
    assert answer() == "second"
    trusted = say("expert", "expert")
    say("third", "ada")
    assert answer() == "expert"
    assert not {"first", "second", "third"} & set(client.get_model(name).labels)
    assert states(client, name)[-4:] == ["active"] * 4  # all are kept
    client.retract(name, trusted.feedback_id, wait=True)
    assert answer() == "third"


def test_a_model_with_closed_labels_refuses_others_with_a_suggestion(client, name):
    client.create_model(name, labels=["track_order", "refund"], closed_labels=True)
    with pytest.raises(InvalidRequest) as caught:
        client.submit(model=name, text=PARCEL, label="track_ordr")
    assert caught.value.reason == "UNKNOWN_LABEL"
    assert "did you mean 'track_order'?" in caught.value.message
    assert "items[0].label" in caught.value.violations
    ack = client.submit(model=name, text=PARCEL, label="track_order", wait=True)
    assert ack.served
    assert client.predict(name, PARCEL).label == "track_order"
    with pytest.raises(InvalidRequest):
        client.import_anchor(name, [(PARCEL, "other")])


def test_waiting_on_a_paused_model_returns_at_once_and_learning_catches_up(client, name):
    taught(client, name, examples(slice(2)))
    paused = client.pause(name, requested_by="ada")
    before = answers(client, name, [PARCEL])
    ack = client.submit(model=name, text=PARCEL, label="lost", wait=True, timeout_s=60)
    assert not ack.served
    assert ack.served_revision == paused.revision < ack.position
    assert distance(answers(client, name, [PARCEL]), before) < 1e-6
    model = client.get_model(name)
    assert model.adaptation_paused
    assert model.log_position == ack.position
    client.resume(name)
    wait_for(client, name, lambda model: model.revision >= ack.position)
    assert client.predict(name, PARCEL).label == "lost"


def test_pausing_ends_a_wait_that_is_under_way(server, client, name):
    """The adapt process is held still, so that the label cannot be learned first."""
    taught(client, name, examples(slice(1)))
    position = client.get_model(name).log_position
    with held(server.server.adapt_pid), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            client.submit, model=name, text=PARCEL, label="lost", wait=True, timeout_s=60
        )
        ask_until(lambda: client.get_model(name).log_position > position)
        client.pause(name)
        assert not waiting.result(20).served


def test_a_wait_ends_shortly_before_the_deadline(server, client, name):
    taught(client, name, examples(slice(1)))
    with held(server.server.adapt_pid):
        ack = client.submit(model=name, text=PARCEL, label="lost", wait=True, timeout_s=2)
        assert not ack.served
        assert ack.served_revision < ack.position
    wait_for(client, name, lambda model: model.revision >= ack.position)


def test_the_label_set_number_grows_with_each_change(client, name):
    taught(client, name, examples(slice(1), ["track", "refund"]))
    numbers = [client.get_model(name).label_set_version]
    (ack,) = teach(client, name, [("what does it weigh", "weight")])
    numbers.append(client.get_model(name).label_set_version)
    teach(client, name, [("how heavy is it", "weight")])
    assert client.get_model(name).label_set_version == numbers[-1]
    client.delete(name, [ack.feedback_id])
    assert client.get_model(name).label_set_version == numbers[-1]
    for record in list(client.list_feedback(name, label="weight")):
        client.delete(name, [record.feedback_id])
    numbers.append(client.get_model(name).label_set_version)
    assert numbers == sorted(set(numbers))


def test_unknown_models_are_named_with_a_suggestion(client, name):
    client.create_model(name)
    for call in (
        lambda: client.submit(model=name + "x", text=PARCEL, label="track"),
        lambda: client.get_model(name + "x"),
        lambda: next(client.list_feedback(name + "x")),
        lambda: client.delete(name + "x", ["f0"]),
        lambda: client.pause(name + "x"),
        lambda: next(client.watch(name + "x", timeout_s=10)),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.reason == "UNKNOWN_MODEL"
        assert f"did you mean '{name}'" in caught.value.message
