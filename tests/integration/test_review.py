"""What to label next, why an answer is as it is, and which labels to doubt: through the SDK."""

import os
import signal
from contextlib import closing

import apsw
import pytest
from journeys import ask_until, examples, taught

from harness import RunningServer, running
from honed import (
    Client,
    DeadlineExceeded,
    FeedbackItem,
    FeedbackKind,
    InvalidRequest,
    Unavailable,
)

NEAR = "has my desk lamp been shipped yet"


def ask(server: RunningServer, client: Client, model: str, texts) -> None:
    """Asks a model for the first time, and waits until the log on disk has the answers."""
    client.predict_many(model, texts)
    path = str(server.config.home / "predictions.sqlite")
    with closing(apsw.Connection(path, apsw.SQLITE_OPEN_READONLY)) as log:
        count = "SELECT count(*) FROM predictions WHERE model = ?"
        ask_until(lambda: log.execute(count, (model,)).get == len(texts))


def test_an_answer_is_explained_by_feedback_and_words(client, name):
    taught(client, name, examples(slice(4)))
    why = client.explain(name, NEAR, tokens=True)
    assert why.label == client.predict(name, NEAR).label == "track"
    nearest = why.nearest[0]
    assert (nearest.text, nearest.label) == (NEAR, "track")
    assert nearest.similarity == pytest.approx(1, abs=1e-3)
    assert len(why.nearest) == len(why.influential) == 5
    assert why.influential[0].label == "track"
    assert why.influential[0].influence > 0
    sizes = [abs(one.influence) for one in why.influential]
    assert sizes == sorted(sizes, reverse=True)
    assert [word.text for word in why.tokens] == NEAR.split()
    assert [NEAR.encode()[w.start : w.end].decode() for w in why.tokens] == NEAR.split()
    heaviest = max(why.tokens, key=lambda word: word.attribution)
    assert heaviest.text in ("shipped", "been", "yet")
    lamp = next(word for word in why.tokens if word.text == "lamp")
    assert lamp.attribution < heaviest.attribution / 2
    against = client.explain(name, NEAR, label="refund", top_k=1)
    assert against.probability < why.probability
    assert len(against.nearest) == 1
    with pytest.raises(InvalidRequest, match="did you mean 'refund'"):
        client.explain(name, NEAR, label="refunt")


def test_influence_foretells_what_a_retraction_does(client, name):
    taught(client, name, examples(slice(3)))
    text = "please refund the desk lamp"
    why = client.explain(name, text)
    most = why.influential[0]
    before = client.predict(name, text, logits=True)
    client.retract(name, most.feedback_id, wait=True)
    after = client.predict(name, text, logits=True)

    def raised(answer):
        logits = dict(zip(answer.logit_labels, answer.logits, strict=True))
        return logits[why.label] - sum(logits.values()) / len(logits)

    temperature = client.get_model(name).temperature
    fall = (raised(before) - raised(after)) / temperature
    assert fall == pytest.approx(most.influence, rel=0.25)


def test_a_wrong_label_is_the_first_suspect(client, name):
    pairs = examples(slice(5))
    taught(client, name, pairs)
    wrong = FeedbackItem("I want my money back for the phone case", "stock", submitter="mallory")
    client.submit_many(name, [wrong], wait=True)
    found = client.suspects(name, size=3)
    assert len(found.suspects) == 3
    first = found.suspects[0]
    assert (first.record.text, first.record.label) == (wrong.text, "stock")
    assert first.suggested_label == "refund"
    assert first.probability < first.suggested_probability
    reports = {report.submitter: report for report in found.submitters}
    assert set(reports) == {"", "mallory"}
    assert reports["mallory"].labels == 1
    assert reports[""].weight_share == pytest.approx(len(pairs) / (len(pairs) + 1))


def test_unsure_answers_are_proposed_until_they_are_labelled(server, client, name):
    taught(client, name, examples(slice(4)))
    sure = [text for text, _ in examples(slice(4, 6))]
    odd = ["the weather is nice today", "sing me a song", "who won the football game"]
    ask(server, client, name, [*sure, *odd])
    review = client.review(name, size=3, audit_share=0)
    assert {item.text for item in review.items} & set(odd)
    assert all(item.kind == "unspecified" for item in review.items)
    assert len({item.text for item in review.items}) == 3
    margins = [item.margin for item in review.items]
    assert review.items[0].margin == min(margins)
    first = review.items[0]
    item = FeedbackItem(first.text, "chat", FeedbackKind.CORRECTION, first.prediction_id)
    client.submit_many(name, [item], wait=True)
    again = client.review(name, size=3, audit_share=0)
    assert first.text not in {item.text for item in again.items}
    assert (again.chosen.labelled, again.chosen.right) == (1, 0)
    assert again.audited.labelled == 0


def test_audits_are_drawn_at_random_and_measure_accuracy(server, client, name):
    taught(client, name, examples(slice(4)))
    traffic = examples(slice(4, 8)) * 3
    ask(server, client, name, [text for text, _ in traffic])
    right = dict(traffic)
    drawn = client.review(name, size=256, audit_share=1).items
    assert {item.kind for item in drawn} == {"audit"}
    assert 1 <= len(drawn) <= 30  # a twentieth of 180, with room for chance
    same = client.review(name, size=256, audit_share=1).items
    assert [item.prediction_id for item in same] == [item.prediction_id for item in drawn]
    labels = [
        FeedbackItem(i.text, right[i.text], FeedbackKind.AUDIT, i.prediction_id) for i in drawn
    ]
    client.submit_many(name, labels, wait=True)
    review = client.review(name, size=256, audit_share=1)
    assert review.items == ()
    correct = sum(item.label == right[item.text] for item in drawn)
    assert (review.audited.labelled, review.audited.right) == (len(drawn), correct)
    assert review.audited.low < correct / len(drawn) <= review.audited.high <= 1
    model = client.get_model(name)
    assert model.learning.audits == len(drawn)
    assert model.learning.audited_accuracy == pytest.approx(correct / len(drawn))
    assert model.drift.window == len(drawn)


def test_a_deleted_audit_counts_no_more(client, name):
    taught(client, name, examples(slice(2)))
    answer = client.predict(name, NEAR)
    ack = client.submit(answer, label="track", kind=FeedbackKind.AUDIT, wait=True)
    assert client.review(name, size=1).audited.labelled == 1
    client.delete(name, [ack.feedback_id])
    ask_until(lambda: client.review(name, size=1).audited.labelled == 0)


def test_what_is_out_of_range_is_refused(client, name):
    client.create_model(name)
    for call, field in (
        (lambda: client.review(name, size=257), "size"),
        (lambda: client.review(name, audit_share=1.5), "audit_share"),
        (lambda: client.suspects(name, size=1001), "size"),
        (lambda: client.explain(name, "hi", top_k=101), "top_k"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert field in caught.value.violations


def test_without_the_adapt_process_the_review_goes_on_and_the_rest_says_why(tmp_path):
    with running(tmp_path, example=False, adapt=False) as server, server.client() as client:
        client.create_model("m")
        with pytest.raises(Unavailable) as caught:
            client.suspects("m", timeout_s=2)
        assert caught.value.reason == "ADAPT_DOWN"
        assert client.review("m").items == ()


def test_a_busy_adapt_process_is_not_waited_for_for_ever(client, name, server):
    taught(client, name, examples(slice(1)))
    os.kill(server.server.adapt_pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            client.explain(name, NEAR, timeout_s=1)
    finally:
        os.kill(server.server.adapt_pid, signal.SIGCONT)
    assert caught.value.reason == "ADAPT_BUSY"
    assert client.explain(name, NEAR).label == "track"
