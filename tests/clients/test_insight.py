"""Explanations, reviews and suspects: what the SDK makes of them, and what the commands print."""

import pytest

from clients.commands import Honed
from clients.scripted import Fault, ScriptedServer, status
from honed import Client, Unavailable
from honed_proto.v1 import feedback_pb2, inference_pb2

WHY = inference_pb2.ExplainResponse(
    model="support",
    version=3,
    revision=40,
    label="refund",
    probability=0.75,
    influential=[
        inference_pb2.Influence(
            feedback_id="f1", text="money \x1b[31mback", label="refund", submitter="ann",
            similarity=0.5, influence=-1.25,
        )
    ],
    tokens=[inference_pb2.TokenAttribution(text="money", start=0, end=5, attribution=2.5)],
)  # fmt: skip
REVIEW = feedback_pb2.ReviewResponse(
    items=[
        feedback_pb2.ReviewItem(prediction_id="p1", text="hi", kind="FEEDBACK_KIND_AUDIT"),
        feedback_pb2.ReviewItem(prediction_id="p2", text="ho", label="greet", margin=0.25),
    ],
    audited=feedback_pb2.Accuracy(labelled=40, right=30, low=0.5, high=0.875),
)
DOUBTS = feedback_pb2.SuspectsResponse(
    suspects=[
        feedback_pb2.Suspect(
            record=feedback_pb2.FeedbackRecord(feedback_id="f9", text="odd", label="a"),
            probability=0.125,
            suggested_label="b",
            suggested_probability=0.75,
        )
    ],
    submitters=[feedback_pb2.SubmitterReport(submitter="eve", labels=7, suspicious=True)],
)


def test_an_explanation_is_whole(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.Explain", WHY)
    why = client.explain("support", "money please", label="refund", top_k=3, tokens=True)
    (request,) = server.requests("Inference.Explain")
    assert (request.model, request.text, request.label) == ("support", "money please", "refund")
    assert (request.top_k, request.include_tokens) == (3, True)
    assert (why.label, why.probability, why.version) == ("refund", 0.75, 3)
    assert (why.influential[0].influence, why.influential[0].submitter) == (-1.25, "ann")
    assert why.nearest == ()
    assert (why.tokens[0].text, why.tokens[0].end, why.tokens[0].attribution) == ("money", 5, 2.5)


def test_a_review_has_items_and_two_accuracies(server: ScriptedServer, client: Client) -> None:
    server.on("Feedback.Review", REVIEW)
    review = client.review("support", 7)
    assert [item.kind for item in review.items] == ["audit", "unspecified"]
    assert (review.audited.right, review.audited.high) == (30, 0.875)
    assert review.chosen.labelled == 0
    client.review("support", audit_share=0)
    first, second = server.requests("Feedback.Review")
    assert (first.size, first.HasField("audit_share")) == (7, False)
    assert (second.HasField("audit_share"), second.audit_share) == (True, 0.0)


def test_suspects_come_with_their_records(server: ScriptedServer, client: Client) -> None:
    server.on("Feedback.Suspects", DOUBTS)
    found = client.suspects("support", 5)
    assert (found.suspects[0].record.feedback_id, found.suspects[0].suggested_label) == ("f9", "b")
    assert found.submitters[0].suspicious
    assert server.requests("Feedback.Suspects")[0].size == 5


def test_that_learning_is_away_is_an_error_of_its_own(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Inference.Explain", Fault(status("UNAVAILABLE", "it is down", "ADAPT_DOWN")))
    with pytest.raises(Unavailable) as caught:
        client.explain("support", "hi", timeout_s=2)
    assert caught.value.reason == "ADAPT_DOWN"


def test_an_explanation_is_printed(server: ScriptedServer, honed: Honed) -> None:
    server.on("Inference.Explain", WHY)
    done = honed("explain", "support", "money please", "--tokens")
    assert done.code == 0
    assert "version 3, revision 40: refund 0.7500" in done.out
    assert r"money \x1b[31mback" in done.out
    assert "-1.25" in done.out
    assert "2.5" in done.out
    assert honed("explain", "support", "money please", "--json").json["label"] == "refund"


def test_a_review_is_printed(server: ScriptedServer, honed: Honed) -> None:
    server.on("Feedback.Review", REVIEW)
    done = honed("feedback", "review", "support", "--size", "9", "--audit-share", "0.5")
    assert done.code == 0
    assert "audited traffic: 75.0% of 40 answers right (95 %: 50.0% to 87.5%)" in done.out
    assert "what people chose to label: nothing labelled yet" in done.out
    assert "unspecified" not in done.out
    (request,) = server.requests("Feedback.Review")
    assert (request.size, request.audit_share) == (9, 0.5)
    assert honed("feedback", "review", "support", "--json").json["items"][0]["kind"] == "audit"


def test_suspects_are_printed(server: ScriptedServer, honed: Honed) -> None:
    server.on("Feedback.Suspects", DOUBTS)
    done = honed("feedback", "suspects", "support")
    assert done.code == 0
    lines = done.out.splitlines()
    assert any("f9" in line and "0.75" in line and "odd" in line for line in lines)
    assert any("eve" in line and "yes" in line for line in lines)
    shown = honed("feedback", "suspects", "support", "--json").json
    assert shown["suspects"][0]["record"]["label"] == "a"
