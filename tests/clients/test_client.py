"""Each method: what it asks the server, and the value that it makes of the answer."""

import struct
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

import honed
from clients.scripted import ScriptedServer, status
from honed import Client, FeedbackItem, FeedbackKind, Prediction
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
BAD_ITEM = status("INVALID_ARGUMENT", "the text is empty", "TEXT_EMPTY")


def _timestamp() -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOON)
    return stamp


def _answer(**more: object) -> inference_pb2.PredictItem:
    answer = inference_pb2.Prediction(
        prediction_id="p1",
        model="support",
        version=2,
        revision=40,
        label_set_version=3,
        scores=[
            inference_pb2.Score(label="refund", probability=0.75),
            inference_pb2.Score(label="cancel", probability=0.25),
        ],
        num_tokens=6,
        queue_time=Duration(nanos=1_500_000),
        compute_time=Duration(seconds=1),
        **more,  # type: ignore[arg-type]
    )
    return inference_pb2.PredictItem(prediction=answer)


@pytest.fixture
def prediction(server: ScriptedServer, client: Client) -> Prediction:
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[_answer()]))
    return client.predict("support", "money back")


def _ack(server: ScriptedServer) -> None:
    ack = feedback_pb2.FeedbackAck(feedback_id="f1", position=41, served=True, served_revision=41)
    response = feedback_pb2.SubmitResponse(results=[feedback_pb2.SubmitResult(ack=ack)])
    server.on("Feedback.Submit", response)


def _submitted(server: ScriptedServer) -> feedback_pb2.FeedbackItem:
    item: feedback_pb2.FeedbackItem = server.requests("Feedback.Submit")[-1].items[0]
    return item


def test_a_prediction_carries_the_whole_answer_and_the_text(prediction: Prediction) -> None:
    assert prediction == Prediction(
        prediction_id="p1",
        model="support",
        version=2,
        revision=40,
        label_set_version=3,
        scores=(honed.Score("refund", 0.75), honed.Score("cancel", 0.25)),
        text="money back",
        num_tokens=6,
        truncated=False,
        queue_time_s=0.0015,
        compute_time_s=1.0,
    )
    assert (prediction.label, prediction.probability) == ("refund", 0.75)


def test_logits_and_embedding_are_plain_floats(server: ScriptedServer, client: Client) -> None:
    item = _answer(
        logits=struct.pack("<2f", 1.5, -2),
        logit_labels=["refund", "cancel"],
        embedding=struct.pack("<3f", 0.5, 0, -1),
    )
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[item]))
    answer = client.predict("support", "money back", top_k=2, logits=True, embedding=True)
    assert (answer.logits, answer.logit_labels) == ((1.5, -2.0), ("refund", "cancel"))
    assert answer.embedding == (0.5, 0.0, -1.0)
    (request,) = server.requests("Inference.Predict")
    assert (request.top_k, request.include_logits, request.include_embedding) == (2, True, True)


def test_scope_and_set_are_part_of_the_answer(server: ScriptedServer, client: Client) -> None:
    item = _answer(out_of_scope_score=-1.5, out_of_scope=True, prediction_set=["refund", "cancel"])
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[item]))
    answer = client.predict("support", "money back", prediction_set=True)
    assert (answer.out_of_scope_score, answer.out_of_scope) == (-1.5, True)
    assert answer.prediction_set == ("refund", "cancel")
    assert server.requests("Inference.Predict")[0].include_set


def test_bulk_work_of_a_tenant_says_so(server: ScriptedServer, client: Client) -> None:
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[_answer()]))
    client.predict("support", "money back")
    client.predict("support", "money back", priority="bulk", tenant="shop-7")
    with client.batched("support", priority="bulk", tenant="shop-8") as batch:
        batch.predict("money back")
    asked = server.requests("Inference.Predict")
    interactive, bulk = inference_pb2.PRIORITY_INTERACTIVE, inference_pb2.PRIORITY_BULK
    assert [(request.priority, request.tenant) for request in asked] == [
        (interactive, ""), (bulk, "shop-7"), (bulk, "shop-8")
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [{"priority": "urgent"}, {"tenant": "\ud800"}])
def test_what_cannot_be_asked_is_refused_before_it_is_sent(client: Client, wrong) -> None:
    for ask in (client.predict, client.predict_stream):
        with pytest.raises(ValueError, match=r"urgent|surrogates"):
            ask("support", ["money back"], **wrong)


def test_texts_fail_one_by_one(server: ScriptedServer, client: Client) -> None:
    response = inference_pb2.PredictResponse(
        items=[_answer(), inference_pb2.PredictItem(error=BAD_ITEM), _answer()]
    )
    server.on("Inference.Predict", response)
    first, failed, last = client.predict_many("support", ["a", "", "c"])
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    assert (first.text, last.text) == ("a", "c")
    assert isinstance(failed, honed.InvalidRequest)
    assert failed.reason == "TEXT_EMPTY"


def test_a_single_text_that_fails_is_raised(server: ScriptedServer, client: Client) -> None:
    item = inference_pb2.PredictItem(error=BAD_ITEM)
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[item]))
    with pytest.raises(honed.InvalidRequest, match="empty"):
        client.predict("support", "")


@pytest.mark.parametrize(
    ("label", "kind", "sent"),
    [
        (None, feedback_pb2.FEEDBACK_KIND_CONFIRMATION, "refund"),
        ("refund", feedback_pb2.FEEDBACK_KIND_CONFIRMATION, "refund"),
        ("cancel", feedback_pb2.FEEDBACK_KIND_CORRECTION, "cancel"),
    ],
)
def test_feedback_about_a_prediction_fills_in_the_rest(
    server: ScriptedServer, client: Client, prediction: Prediction, label: str, kind: int, sent: str
) -> None:
    _ack(server)
    ack = client.submit(prediction, label=label, submitter="ann", wait=True)
    assert (ack.position, ack.served, ack.served_revision) == (41, True, 41)
    (request,) = server.requests("Feedback.Submit")
    assert (request.model, request.wait_until_served) == ("support", True)
    item = _submitted(server)
    assert (item.prediction_id, item.text, item.submitter) == ("p1", "money back", "ann")
    assert (item.kind, item.label) == (kind, sent)


def test_feedback_without_a_prediction_is_an_audit(server: ScriptedServer, client: Client) -> None:
    _ack(server)
    client.submit(model="support", text="hi", label="greet", event_time=NOON, idempotency_key="k")
    item = _submitted(server)
    assert item.kind == feedback_pb2.FEEDBACK_KIND_AUDIT
    assert (item.idempotency_key, item.event_time) == ("k", _timestamp())


def test_a_given_kind_is_kept(
    server: ScriptedServer, client: Client, prediction: Prediction
) -> None:
    _ack(server)
    client.submit(prediction, label="cancel", kind=FeedbackKind.AUDIT)
    assert _submitted(server).kind == feedback_pb2.FEEDBACK_KIND_AUDIT


def test_an_empty_label_is_left_to_the_server_to_refuse(
    server: ScriptedServer, client: Client, prediction: Prediction
) -> None:
    _ack(server)
    client.submit(prediction, label="")
    assert _submitted(server).label == ""


def test_feedback_about_nothing_is_a_mistake_of_the_caller(client: Client) -> None:
    with pytest.raises(TypeError, match="needs a prediction"):
        client.submit(label="greet")


def test_labels_fail_one_by_one(server: ScriptedServer, client: Client) -> None:
    conflict = status("ALREADY_EXISTS", "the key has other content", "KEY_CONFLICT")
    results = [
        feedback_pb2.SubmitResult(ack=feedback_pb2.FeedbackAck(feedback_id="f1")),
        feedback_pb2.SubmitResult(error=conflict),
    ]
    server.on("Feedback.Submit", feedback_pb2.SubmitResponse(results=results))
    items = [FeedbackItem("a", "x"), FeedbackItem("b", "y", idempotency_key="used")]
    recorded, refused = client.submit_many("support", items)
    assert isinstance(recorded, honed.FeedbackAck)
    assert isinstance(refused, honed.Conflict)


def test_a_retraction_names_the_entry(server: ScriptedServer, client: Client) -> None:
    _ack(server)
    client.retract("support", "f0", submitter="ann")
    item = _submitted(server)
    assert item.kind == feedback_pb2.FEEDBACK_KIND_RETRACTION
    assert (item.retracts, item.submitter) == ("f0", "ann")
    assert item.idempotency_key


def test_a_deletion_is_a_record(server: ScriptedServer, client: Client) -> None:
    tombstone = feedback_pb2.FeedbackRecord(
        feedback_id="f1",
        kind=feedback_pb2.FEEDBACK_KIND_AUDIT,
        state=feedback_pb2.FEEDBACK_STATE_DELETED,
        deleted_by="ann",
        deleted_time=_timestamp(),
    )
    missing = status("NOT_FOUND", "no such feedback", "FEEDBACK_NOT_FOUND")
    response = feedback_pb2.DeleteFeedbackResponse(
        results=[
            feedback_pb2.DeleteResult(tombstone=tombstone),
            feedback_pb2.DeleteResult(error=missing),
        ],
        position=50,
        served_version=2,
        served_revision=50,
        tainted_versions=[1, 2],
    )
    server.on("Feedback.Delete", response)
    deletion = client.delete("support", ["f1", "f9"], requested_by="ann")
    assert (deletion.position, deletion.served_revision) == (50, 50)
    assert deletion.tainted_versions == (1, 2)
    left, error = deletion.results
    assert isinstance(left, honed.FeedbackRecord)
    assert (left.kind, left.state, left.deleted_by) == ("audit", "deleted", "ann")
    assert (left.deleted_time, left.event_time) == (NOON, None)
    assert isinstance(error, honed.NotFound)
    (request,) = server.requests("Feedback.Delete")
    assert (list(request.feedback_ids), request.requested_by) == (["f1", "f9"], "ann")


def test_listing_turns_the_pages(server: ScriptedServer, client: Client) -> None:
    def page(request: feedback_pb2.ListFeedbackRequest) -> feedback_pb2.ListFeedbackResponse:
        number = int(request.page_token or 0)
        return feedback_pb2.ListFeedbackResponse(
            records=[feedback_pb2.FeedbackRecord(position=number)],
            next_page_token=str(number + 1) if number < 2 else "",
        )

    server.on("Feedback.List", page)
    records = client.list_feedback("support", label="refund", submitter="ann", page_size=1)
    assert [record.position for record in records] == [0, 1, 2]
    asked = server.requests("Feedback.List")
    assert {(each.label, each.submitter, each.page_size) for each in asked} == {
        ("refund", "ann", 1)
    }


def test_anchors_are_imported(server: ScriptedServer, client: Client) -> None:
    response = feedback_pb2.ImportAnchorResponse(imported=1, total=5, unknown_labels=["new"])
    server.on("Feedback.ImportAnchor", response)
    result = client.import_anchor("support", [("hi", "greet")], replace=True)
    assert (result.imported, result.total, result.unknown_labels) == (1, 5, ("new",))
    (request,) = server.requests("Feedback.ImportAnchor")
    assert request.replace
    assert (request.examples[0].text, request.examples[0].label) == ("hi", "greet")


MODEL = models_pb2.Model(
    name="support",
    version=2,
    revision=40,
    labels=["refund", "cancel"],
    hidden_size=384,
    temperature=0.5,
    create_time=_timestamp(),
    adapt_state="running",
)


def test_models_are_created_described_and_deleted(server: ScriptedServer, client: Client) -> None:
    server.on("Models.Create", MODEL)
    server.on("Models.Get", MODEL)
    server.on("Models.List", models_pb2.ListModelsResponse(models=[MODEL]))
    server.on("Models.Delete", models_pb2.DeleteModelResponse(forgotten_feedback=9))
    model = client.create_model("support", labels=["refund", "cancel"], closed_labels=True)
    assert (model.labels, model.create_time) == (("refund", "cancel"), NOON)
    assert client.get_model("support") == model
    assert client.list_models() == [model]
    assert client.delete_model("support", requested_by="ann") == 9
    (created,) = server.requests("Models.Create")
    assert (list(created.labels), created.closed_labels) == (["refund", "cancel"], True)


def test_calibration_that_is_not_known_is_told_from_a_perfect_one(
    server: ScriptedServer, client: Client
) -> None:
    for sent in ({}, {"calibration_error": 0.0, "brier": 0.0}):
        server.on("Models.Get", models_pb2.Model(learning=models_pb2.Learning(**sent)))
        learning = client.get_model("support").learning
        expected = (sent.get("calibration_error"), sent.get("brier"))
        assert (learning.calibration_error, learning.brier) == expected


def test_who_serves_and_who_learns_is_decided(server: ScriptedServer, client: Client) -> None:
    for method in ("Promote", "Rollback", "PauseAdaptation", "ResumeAdaptation"):
        server.on(f"Models.{method}", MODEL)
    client.promote("support", 3, requested_by="ann")
    client.rollback("support")
    client.pause("support", requested_by="ann")
    client.resume("support", exclude_suspected=True, exclude_submitter="bob")
    requests = [call.request for call in server.received]
    assert requests == [
        models_pb2.PromoteRequest(model="support", version=3, requested_by="ann"),
        models_pb2.RollbackRequest(model="support"),
        models_pb2.PauseAdaptationRequest(model="support", requested_by="ann"),
        models_pb2.ResumeAdaptationRequest(
            model="support", exclude_suspected=True, exclude_submitter="bob"
        ),
    ]


def test_versions_and_decisions_are_listed(server: ScriptedServer, client: Client) -> None:
    response = models_pb2.ListVersionsResponse(
        versions=[models_pb2.Version(version=2, state=models_pb2.VERSION_STATE_ACTIVE, parent=1)],
        decisions=[models_pb2.Decision(kind="gate", outcome="refused", numbers_json='{"e": 2}')],
    )
    server.on("Models.ListVersions", response)
    (version,) = client.list_versions("support")
    assert (version.version, version.state, version.parent) == (2, "active", 1)
    (decision,) = client.list_decisions("support")
    assert (decision.kind, decision.outcome, decision.numbers_json) == (
        "gate",
        "refused",
        '{"e": 2}',
    )
