"""`honed predict` and `honed replay`: answers, old ones too, as tables and JSON."""

from clients.commands import Honed
from clients.scripted import ScriptedServer, status
from honed_proto.v1 import inference_pb2


def _answers(*labels: str) -> inference_pb2.PredictResponse:
    items = [
        inference_pb2.PredictItem(
            prediction=inference_pb2.Prediction(
                prediction_id=f"p-{label}",
                model="support",
                version=2,
                revision=40,
                scores=[
                    inference_pb2.Score(label=label, probability=0.75),
                    inference_pb2.Score(label="other", probability=0.25),
                ],
            )
        )
        for label in labels
    ]
    return inference_pb2.PredictResponse(items=items)


def test_predict_prints_a_table(server: ScriptedServer, honed: Honed) -> None:
    server.on("Inference.Predict", _answers("refund", "cancel"))
    done = honed("predict", "support", "money back", "stop it", "--top-k", "2")
    assert done.code == 0
    lines = done.out.splitlines()
    assert any("money back" in line and "refund" in line and "p-refund" in line for line in lines)
    assert sum("other" in line for line in lines) == 2
    assert server.requests("Inference.Predict")[0].top_k == 2


def test_predict_says_what_is_out_of_scope_and_shows_sets(
    server: ScriptedServer, honed: Honed
) -> None:
    response = _answers("refund", "cancel")
    response.items[0].prediction.out_of_scope = True
    response.items[1].prediction.prediction_set.extend(["cancel", "refund"])
    server.on("Inference.Predict", response)
    lines = honed("predict", "support", "moon", "stop", "--top-k", "2", "--set").out.splitlines()
    assert any("moon" in line and "refund (out of scope)" in line for line in lines)
    assert any("p-cancel" in line and line.strip(" │").endswith("cancel, refund") for line in lines)
    assert server.requests("Inference.Predict")[0].include_set


def test_predict_prints_one_json_object(server: ScriptedServer, honed: Honed) -> None:
    server.on("Inference.Predict", _answers("refund"))
    (prediction,) = honed("predict", "support", "money back", "--json").json["predictions"]
    assert prediction["scores"][0] == {"label": "refund", "probability": 0.75}
    assert (prediction["version"], prediction["revision"]) == (2, 40)


def test_a_text_that_fails_leaves_the_others_and_sets_the_exit_code(
    server: ScriptedServer, honed: Honed
) -> None:
    response = _answers("refund")
    response.items.add(error=status("INVALID_ARGUMENT", "the text is empty", "TEXT_EMPTY"))
    server.on("Inference.Predict", response)
    done = honed("predict", "support", "money back", "", "--json")
    assert done.code == 2
    first, second = done.json["predictions"]
    assert first["prediction_id"] == "p-refund"
    assert second["error"]["reason"] == "TEXT_EMPTY"
    assert done.err == "honed: the text is empty (TEXT_EMPTY)\n"


def _replayed(label: str, difference: float, matches: bool) -> inference_pb2.ReplayResponse:
    return inference_pb2.ReplayResponse(
        prediction_id="p1",
        model="support",
        version=2,
        revision=40,
        text="money back",
        label="refund",
        probability=0.75,
        scores=[inference_pb2.Score(label=label, probability=0.75 - difference)],
        difference=difference,
        matches=matches,
        labels_learned=40,
    )


def test_a_replay_shows_then_and_now(server: ScriptedServer, honed: Honed) -> None:
    server.on("Inference.Replay", _replayed("refund", 2e-6, True))
    done = honed("replay", "p1", "--text", "money back", "--top-k", "2")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if line.startswith("probability")]
    assert [cell.strip() for cell in row.split("│")] == ["probability", "0.750000", "0.749998"]
    assert done.out.splitlines()[-1].startswith("the same: refund differs by 2e-06; 40 labels")
    (request,) = server.requests("Inference.Replay")
    assert (request.prediction_id, request.text, request.top_k) == ("p1", "money back", 2)


def test_a_replay_that_differs_is_exit_code_1(server: ScriptedServer, honed: Honed) -> None:
    server.on("Inference.Replay", _replayed("cancel", 0.5, False))
    done = honed("replay", "p1", "--json")
    assert (done.code, done.json["matches"], done.json["scores"][0]["label"]) == (
        1,
        False,
        "cancel",
    )
    assert "NOT the same" in honed("replay", "p1").out
