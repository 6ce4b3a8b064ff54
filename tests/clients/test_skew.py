"""A client and a server of different ages: what they can still tell each other."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message

import honed
from clients.scripted import Fault, ScriptedServer, status
from clients.twins import twin
from honed import AsyncClient, Client
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

# Field 999, a varint, and field 998, a string: no version of the protocol has them yet.
UNKNOWN = b"\xb8\x3e\x07" + b"\xb2\x3e\x03new"


def newer(message: Message) -> Message:
    """The message with fields that this SDK does not know."""
    message.MergeFromString(UNKNOWN)
    return message


def test_fields_that_an_older_server_lacks_have_honest_defaults(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Models.Get", models_pb2.Model(name="support", version=1, temperature=1))
    model = client.get_model("support")
    assert (model.max_tokens, model.own_head_version, model.learned_evidence) == (0, 0, 0.0)
    assert model.learned_weight == 1.0  # all that it knows is learned
    assert (model.create_time, model.labels) == (None, ())


def test_a_new_field_is_told_from_an_unset_one(server: ScriptedServer, client: Client) -> None:
    own = models_pb2.Model(name="own", own_head_version=1, max_tokens=512, learned_evidence=2.5)
    server.on("Models.Get", own)
    model = client.get_model("own")
    assert (model.own_head_version, model.learned_weight) == (1, 0.0)
    assert (model.max_tokens, model.learned_evidence) == (512, 2.5)


def test_fields_of_a_newer_server_are_passed_over(server: ScriptedServer, client: Client) -> None:
    score = inference_pb2.Score(label="a", probability=1)
    prediction = inference_pb2.Prediction(prediction_id="p", model="support", scores=[score])
    item = newer(inference_pb2.PredictItem(prediction=newer(prediction)))
    server.on("Inference.Predict", newer(inference_pb2.PredictResponse(items=[item])))
    server.on("Models.List", newer(models_pb2.ListModelsResponse(models=[models_pb2.Model()])))
    assert client.predict("support", "hello").label == "a"
    assert len(client.list_models()) == 1


@pytest.mark.parametrize("state", [0, 99])
def test_a_word_that_only_a_newer_server_knows_is_unknown(
    server: ScriptedServer, client: Client, state: int
) -> None:
    version = models_pb2.Version(version=2)
    version.MergeFromString(bytes([0x10, state]))
    record = feedback_pb2.FeedbackRecord(feedback_id="f")
    record.MergeFromString(bytes([0x60, state, 0x38, state]))
    event = models_pb2.ModelEvent(model=models_pb2.Model(name="support"))
    event.MergeFromString(bytes([0x08, state]))
    server.on("Models.ListVersions", models_pb2.ListVersionsResponse(versions=[version]))
    server.on("Feedback.List", feedback_pb2.ListFeedbackResponse(records=[record]))
    server.on("Models.Watch", [event])
    word = "unknown" if state else "unspecified"
    (entry,) = client.list_feedback("support")
    with client.watch() as watch:
        words = [client.list_versions("support")[0].state, entry.state, entry.kind]
        assert [*words, next(watch).kind] == [word] * 4


def test_an_outcome_that_only_a_newer_server_knows_is_an_error(
    server: ScriptedServer, client: Client
) -> None:
    item = newer(inference_pb2.PredictItem())
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[item]))
    result = newer(feedback_pb2.SubmitResult())
    server.on("Feedback.Submit", feedback_pb2.SubmitResponse(results=[result]))
    with pytest.raises(honed.ServerError, match="does not know"):
        client.predict("support", "hello")
    with pytest.raises(honed.ServerError, match="does not know"):
        client.submit(model="support", text="hello", label="greet")


def test_calls_that_an_older_server_lacks_say_so(
    server: ScriptedServer, client_kind: type[Client | AsyncClient], tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    unknown = Fault(status("UNIMPLEMENTED", "Method not found!"), bare=True)
    for method in ("Models.Import", "Models.Export", "Inference.Replay"):
        server.on(method, unknown)
    server.on("Models.Get", models_pb2.Model(name="support"))
    with twin(client_kind, server.target) as client:
        for call in (
            lambda: client.import_model("own", tmp_path),
            lambda: client.export_model("own", tmp_path / "new"),
            lambda: client.replay("p1"),
        ):
            with pytest.raises(
                honed.ServerTooOld, match=r"older than this SDK and lacks honed\.v1"
            ):
                call()
        assert client.get_model("support").name == "support"


def test_a_replay_says_what_was_and_what_is(server: ScriptedServer, client: Client) -> None:
    response = inference_pb2.ReplayResponse(
        prediction_id="p1",
        model="support",
        version=2,
        revision=40,
        text="money back",
        label="refund",
        probability=0.75,
        scores=[inference_pb2.Score(label="refund", probability=0.75)],
        difference=0.0,
        matches=True,
        labels_learned=12,
    )
    response.time.FromDatetime(datetime(2026, 5, 4, tzinfo=UTC))
    server.on("Inference.Replay", response)
    replay = client.replay("p1", text="money back", top_k=3)
    assert replay == honed.Replay(
        prediction_id="p1",
        model="support",
        version=2,
        revision=40,
        time=datetime(2026, 5, 4, tzinfo=UTC),
        text="money back",
        label="refund",
        probability=0.75,
        scores=(honed.Score("refund", 0.75),),
        difference=0.0,
        matches=True,
        labels_learned=12,
    )
    (request,) = server.requests("Inference.Replay")
    assert (request.prediction_id, request.text, request.top_k) == ("p1", "money back", 3)
