"""A text that is several labels at once: taught, shown, served after a restart, and forgotten."""

import pytest
from journeys import (
    TOLERANCE,
    answers,
    distance,
    examples,
    files_holding,
    fresh_lane,
    held,
    same_head,
    saved_head,
    taught,
    teach,
)

from harness import running
from honed import Client, FeedbackItem, FeedbackKind, InvalidRequest

BASE = examples(slice(2), ["track", "refund", "broken"])
TEXTS = [text for text, _ in examples(slice(6, 8), ["track", "refund", "broken"])]
QUESTION = "I sent the curtains back and nobody answers my letters"
SOFT = {"complaint": 0.3, "refund": 0.7}


def share(label: str, of: float) -> tuple[str, float]:
    return label, pytest.approx(of, abs=1e-12)


def leads(client: Client, model: str) -> dict[str, float]:
    """By how much the logit of each label lies above that of a label that nobody speaks of."""
    answer = client.predict(model, QUESTION, logits=True)
    found = dict(zip(answer.logit_labels, answer.logits, strict=True))
    return {label: logit - found["track"] for label, logit in found.items()}


def test_a_soft_label_moves_both_classes(client, name):
    taught(client, name, [*BASE, ("nobody answers me", "complaint"), ("I complain", "complaint")])
    before = leads(client, name)
    ack = client.submit(model=name, text=QUESTION, label=SOFT, submitter="ann", wait=True)
    assert ack.served
    after = leads(client, name)
    assert after["refund"] > before["refund"]
    assert after["complaint"] > before["complaint"]
    best = client.predict(name, QUESTION, top_k=2).scores
    assert {score.label for score in best} == SOFT.keys()
    (record,) = client.list_feedback(name, submitter="ann")
    assert (record.label, record.kind) == ("refund", "audit")
    assert [(one.label, one.share) for one in record.shares] == [
        share("refund", 0.7),
        share("complaint", 0.3),
    ]
    for label in SOFT:
        assert record in list(client.list_feedback(name, label=label))
    assert record not in list(client.list_feedback(name, label="track"))


def test_a_soft_label_teaches_as_two_weighted_labels_of_the_same_words(client, name):
    """The encoder knows no capitals, so that both twins have the vector of the text."""
    soft, hard = f"{name}-soft", f"{name}-hard"
    for model in (soft, hard):
        taught(client, model, BASE, kind=FeedbackKind.CORRECTION)
    client.submit(model=soft, text=QUESTION, label=SOFT, weight=2.0, wait=True)
    weighted = [("refund", 1.4, QUESTION.upper()), ("complaint", 0.6, QUESTION)]
    for label, weight, text in weighted:
        client.submit(
            model=hard, text=text, label=label, weight=weight, kind=FeedbackKind.CORRECTION,
            wait=True,
        )  # fmt: skip
    for text in (QUESTION, *TEXTS):
        one, other = (client.predict(model, text, logits=True) for model in (soft, hard))
        got, wanted = (
            dict(zip(answer.logit_labels, answer.logits, strict=True)) for answer in (one, other)
        )
        assert got == pytest.approx(wanted, abs=1e-3 * max(map(abs, wanted.values())))


def test_a_distribution_is_one_label_among_several_of_a_text(server, client, name):
    """The newest counts, whole; withdrawn, the one before it counts again; a retry is harmless."""
    taught(client, name, [*BASE, (QUESTION, "refund")])
    before = answers(client, name, TEXTS)
    item = FeedbackItem(QUESTION, SOFT, idempotency_key="soft")
    (ack,) = client.submit_many(name, [item], wait=True)
    other_order = FeedbackItem(QUESTION, dict(reversed(SOFT.items())), idempotency_key="soft")
    other_shares = FeedbackItem(QUESTION, {"refund": 0.6, "complaint": 0.4}, idempotency_key="soft")
    again, conflict = client.submit_many(name, [other_order, other_shares])
    assert (again.feedback_id, again.already_recorded) == (ack.feedback_id, True)
    assert conflict.reason == "KEY_CONFLICT"
    assert "complaint" in client.get_model(name).labels
    assert fresh_lane(server.config.home, client, name).effective == len(BASE) + 1
    client.retract(name, ack.feedback_id, wait=True)
    assert client.get_model(name).labels == ("track", "refund", "broken")
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE


def test_deletion_leaves_exactly_the_answers_of_before_and_no_bytes(server, client, name):
    home = server.config.home
    taught(client, name, BASE)
    before = answers(client, name, TEXTS)
    label = {"refund": 0.7, "zymurgy-complaint": 0.3}
    ack = client.submit(model=name, text=QUESTION, label=label, wait=True)
    assert files_holding(home, "zymurgy")
    assert client.get_model(name).labels[-1] == "zymurgy-complaint"
    done = client.delete(name, [ack.feedback_id], requested_by="ann")
    (tombstone,) = done.results
    assert (tombstone.label, tombstone.shares) == ("", ())
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE
    # The registry has the names of labels that ever served; what is said of texts is in the log.
    assert [file for file in files_holding(home, "zymurgy") if "registry" not in file] == []
    saved, fresh = saved_head(home, name, done.served_version), fresh_lane(home, client, name)
    assert same_head(saved, fresh.head)


def test_a_restart_keeps_what_a_soft_label_taught(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", BASE)
        client.submit(model="m", text=QUESTION, label=SOFT, wait=True)
        before, record = answers(client, "m", TEXTS), list(client.list_feedback("m"))[-1]
    with running(home, example=False) as server, server.client() as client:
        (ack,) = teach(client, "m", [("where did you put it", "track")])  # the lane is built anew
        client.delete("m", [ack.feedback_id])
        assert list(client.list_feedback("m"))[-2] == record
        assert distance(answers(client, "m", TEXTS), before) < TOLERANCE


def test_a_soft_label_never_votes_and_one_with_all_of_it_is_a_plain_label(server, client, name):
    taught(client, name, BASE)
    with held(server.server.adapt_pid):
        soft = client.submit(model=name, text=QUESTION, label=SOFT)
        plain = client.submit(model=name, text="it has a crack", label={"broken": 1.0})
        log = server.server.catalogue.log
        positions = [soft.position, plain.position]
        assert log.counting_audits(name, positions) == {plain.position: "broken"}
        assert "complaint" not in log.audited_labels(name)
    *_, record = client.list_feedback(name)
    assert (record.label, record.shares) == ("broken", ())


def test_the_likeliest_label_says_what_a_soft_label_is_to_an_answer(client, name):
    taught(client, name, BASE)
    answer = client.predict(name, TEXTS[0])
    assert answer.label == "track"
    client.submit(answer, label={"track": 0.6, "refund": 0.4}, submitter="ann")
    client.submit(answer, label={"track": 0.4, "refund": 0.6}, submitter="ann")
    kinds = [record.kind for record in client.list_feedback(name, submitter="ann")]
    assert kinds == ["confirmation", "correction"]
    accuracy = client.review(name).chosen
    assert (accuracy.labelled, accuracy.right) == (2, 1)


def test_what_is_no_distribution_is_refused(client, name):
    client.create_model(name)
    with pytest.raises(InvalidRequest) as caught:
        client.submit(model=name, text=QUESTION, label={"refund": 0.7, "complaint": 0.2})
    assert caught.value.reason == "BAD_SHARES"
    assert caught.value.violations.keys() == {"items[0].shares"}
    with pytest.raises(ValueError, match="without labels"):
        client.submit(model=name, text=QUESTION, label={})
    assert list(client.list_feedback(name)) == []
