"""The `honed` command against a server: output, one-line errors and exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from google.rpc.error_details_pb2 import BadRequest
from typer.testing import CliRunner

from clients.scripted import Fault, ScriptedServer, status
from honed.cli import app
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

HONED = Path(sys.executable).with_name("honed")
MODEL = models_pb2.Model(
    name="support",
    version=3,
    revision=40,
    labels=["a", "b"],
    log_position=41,
    adapt_state="running",
)


class Outcome:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        """The single line of output, which must be one JSON object."""
        (line,) = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value


Honed: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def honed(server: ScriptedServer) -> Honed:
    def run(*arguments: str) -> Outcome:
        result = CliRunner().invoke(app, ["--target", server.target, *arguments])
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


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


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("INTERNAL", 1),
        ("INVALID_ARGUMENT", 2),
        ("FAILED_PRECONDITION", 2),
        ("NOT_FOUND", 3),
        ("ALREADY_EXISTS", 4),
        ("RESOURCE_EXHAUSTED", 5),
        ("UNAVAILABLE", 5),
        ("DEADLINE_EXCEEDED", 5),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["", "json"])
def test_an_error_is_one_line_and_an_exit_code(
    server: ScriptedServer, honed: Honed, code: str, exit_code: int, options: tuple[str, ...]
) -> None:
    server.on("Models.Get", Fault(status(code, "this is\nwrong", "SOME_REASON")))
    done = honed("models", "show", "support", *options)
    assert (done.code, done.out) == (exit_code, "")
    assert done.err == "honed: this is\\nwrong (SOME_REASON)\n"


def test_an_invalid_request_names_its_fields(server: ScriptedServer, honed: Honed) -> None:
    broken = BadRequest.FieldViolation(field="name", description="has a space")
    fault = status("INVALID_ARGUMENT", "no", "BAD_NAME", BadRequest(field_violations=[broken]))
    server.on("Models.Create", Fault(fault))
    assert honed("models", "create", "a b").err == "honed: no; name: has a space (BAD_NAME)\n"


def test_feedback_is_submitted(server: ScriptedServer, honed: Honed) -> None:
    ack = feedback_pb2.FeedbackAck(feedback_id="f1", position=41, served=True, served_version=2)
    response = feedback_pb2.SubmitResponse(results=[feedback_pb2.SubmitResult(ack=ack)])
    server.on("Feedback.Submit", response)
    done = honed("feedback", "submit", "support", "--text", "hi", "--label", "greet", "--wait")
    assert (done.code, "f1 is recorded at position 41" in done.out) == (0, True)
    about = ("--prediction-id", "p1")
    done = honed("feedback", "submit", "support", *about, "--label", "greet", "--json")
    assert (done.json["feedback_id"], done.json["position"]) == ("f1", 41)
    honed("feedback", "submit", "support", *about)
    honed("feedback", "submit", "support", *about, "--label", "x", "--kind", "audit")
    requests = server.requests("Feedback.Submit")
    assert [request.items[0].kind for request in requests] == [
        feedback_pb2.FEEDBACK_KIND_AUDIT,
        feedback_pb2.FEEDBACK_KIND_CORRECTION,
        feedback_pb2.FEEDBACK_KIND_CONFIRMATION,
        feedback_pb2.FEEDBACK_KIND_AUDIT,
    ]
    assert [request.wait_until_served for request in requests] == [True, False, False, False]


def test_a_refused_label_sets_the_exit_code(server: ScriptedServer, honed: Honed) -> None:
    refused = status("ALREADY_EXISTS", "the key has other content", "KEY_CONFLICT")
    response = feedback_pb2.SubmitResponse(results=[feedback_pb2.SubmitResult(error=refused)])
    server.on("Feedback.Submit", response)
    done = honed("feedback", "submit", "support", "--text", "a", "--label", "b", "--key", "k")
    assert (done.code, done.out) == (4, "")
    assert "KEY_CONFLICT" in done.err


def test_feedback_is_listed_up_to_a_limit(server: ScriptedServer, honed: Honed) -> None:
    records = [
        feedback_pb2.FeedbackRecord(position=number, text=f"text \x1b[31m{number}", label="a")
        for number in range(1, 4)
    ]
    page = feedback_pb2.ListFeedbackResponse(records=records, next_page_token="more")
    server.on("Feedback.List", page)
    done = honed("feedback", "list", "support", "--limit", "2", "--json")
    assert [record["position"] for record in done.json["records"]] == [1, 2]
    table = honed("feedback", "list", "support", "--limit", "2").out
    assert "\x1b" not in table
    assert r"text \x1b[31m2" in table
    assert "text \\x1b[31m3" not in table


def test_feedback_is_deleted(server: ScriptedServer, honed: Honed) -> None:
    missing = status("NOT_FOUND", "no such feedback", "FEEDBACK_NOT_FOUND")
    response = feedback_pb2.DeleteFeedbackResponse(
        results=[
            feedback_pb2.DeleteResult(tombstone=feedback_pb2.FeedbackRecord(feedback_id="f1")),
            feedback_pb2.DeleteResult(error=missing),
        ],
        position=50,
    )
    server.on("Feedback.Delete", response)
    done = honed("feedback", "delete", "support", "f1", "f9", "--requested-by", "ann", "--json")
    assert (done.code, done.json["position"]) == (3, 50)
    assert "FEEDBACK_NOT_FOUND" in done.err
    assert server.requests("Feedback.Delete")[0].requested_by == "ann"


def test_models_are_managed(server: ScriptedServer, honed: Honed) -> None:
    for method in ("Create", "Get", "PauseAdaptation", "ResumeAdaptation"):
        server.on(f"Models.{method}", MODEL)
    server.on("Models.List", models_pb2.ListModelsResponse(models=[MODEL]))
    server.on("Models.Delete", models_pb2.DeleteModelResponse(forgotten_feedback=7))
    create = ("models", "create", "support", "--label", "a", "--label", "b", "--closed")
    assert honed(*create, "--json").json["labels"] == ["a", "b"]
    assert list(server.requests("Models.Create")[0].labels) == ["a", "b"]
    assert "version: 3" in honed("models", "show", "support").out
    assert "support" in honed("models", "list").out
    assert honed("models", "pause", "support", "--json").json["version"] == 3
    honed("models", "resume", "support", "--exclude-suspected", "--exclude-submitter", "bob")
    (resumed,) = server.requests("Models.ResumeAdaptation")
    assert (resumed.exclude_suspected, resumed.exclude_submitter) == (True, "bob")
    assert honed("models", "delete", "support", "--json").json == {"forgotten_feedback": 7}


def test_versions_are_listed_promoted_and_rolled_back(server: ScriptedServer, honed: Honed) -> None:
    listed = models_pb2.ListVersionsResponse(
        versions=[models_pb2.Version(version=3, state=models_pb2.VERSION_STATE_ACTIVE)],
        decisions=[models_pb2.Decision(kind="gate", outcome="refused", reason="not better")],
    )
    server.on("Models.ListVersions", listed)
    server.on("Models.Promote", MODEL)
    server.on("Models.Rollback", MODEL)
    table = honed("versions", "list", "support").out
    assert "active" in table
    assert "not better" in table
    assert set(honed("versions", "list", "support", "--json").json) == {"versions", "decisions"}
    assert honed("promote", "support", "3").out == "support serves version 3, revision 40\n"
    assert honed("rollback", "support", "--json").json["version"] == 3
    assert server.requests("Models.Promote")[0].version == 3
    assert server.requests("Models.Rollback")[0].version == 0


def test_status_shows_what_serves_and_what_lags(server: ScriptedServer, honed: Honed) -> None:
    server.on("Models.List", models_pb2.ListModelsResponse(models=[MODEL]))
    assert honed("status", "--json").json["target"] == server.target
    (row,) = [line for line in honed("status").out.splitlines() if line.startswith("support")]
    assert "yes" in row


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "support"),
        ("predct", "support", "text"),
        ("predict", "support", "text", "--top-k", "0"),
        ("feedback", "submit", "support", "--label", "a"),
        ("feedback", "submit", "support", "--text", "a", "--label", "b", "--kind", "guess"),
        ("rollback", "support", "two"),
        ("rollback", "support", str(2**64)),
        ("feedback", "import", "support", "no-such-file.csv"),
        ("predict", "support", "\udcff"),
    ],
)
def test_wrong_usage_is_exit_code_2_before_anything_is_sent(
    server: ScriptedServer, honed: Honed, arguments: tuple[str, ...]
) -> None:
    done = honed(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert "Traceback" not in done.err
    assert not server.received


def test_the_installed_command_reports_a_server_that_is_away(server: ScriptedServer) -> None:
    server.stop()
    done = subprocess.run(
        [HONED, "--target", server.target, "status"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, "")
    (line,) = done.stderr.splitlines()
    assert server.target in line
    assert "honed serve" in line


def test_help_tells_the_exit_codes_and_every_command() -> None:
    done = subprocess.run([HONED, "--help"], capture_output=True, text=True, check=True)
    assert "5  overloaded, unreachable" in done.stdout
    assert all(f"\n  {name} " in done.stdout for name in ("serve", "predict", "rollback"))


def test_serving_without_the_server_extra_is_one_sentence() -> None:
    packages = ("numpy", "onnxruntime", "structlog", "apsw")
    hide = f"sys.modules.update(dict.fromkeys({packages}))"
    code = f"import sys; {hide}; from honed.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "install honed[server]" in line
