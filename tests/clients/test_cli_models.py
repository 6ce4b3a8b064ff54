"""`honed models`, `versions`, `promote` and `rollback`: what serves, and who decides."""

from pathlib import Path

import pytest

from clients.commands import MODEL, Honed
from clients.scripted import ScriptedServer
from honed_proto.v1 import models_pb2


def test_a_model_is_created_with_labels(server: ScriptedServer, honed: Honed) -> None:
    server.on("Models.Create", MODEL)
    labels = ("--labels", 'a,"b, c"', "--label", "d", "--closed-labels", "--encoder", "e1")
    assert honed("models", "create", "support", *labels, "--json").json["labels"] == ["a", "b"]
    (request,) = server.requests("Models.Create")
    assert list(request.labels) == ["a", "b, c", "d"]
    assert (request.closed_labels, request.encoder_digest) == (True, "e1")
    assert "support is created: 2 labels (a, b)" in honed("models", "create", "support").out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--without-head",), "--without-head needs --from DIR"),
        (("--from", ".", "--labels", "a"), "leave --labels out"),
        (("--from", ".", "--encoder", "e1"), "leave --encoder out"),
        (("--from", "no-such-folder"), "no-such-folder"),
        (("--data", "labels.txt"), "must end in .csv or .jsonl"),
        (("--data", "labels.csv"), "text and label are needed"),
    ],
)
def test_what_cannot_be_created_uses_up_no_name(
    server: ScriptedServer,
    honed: Honed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labels.txt", "labels.csv"):
        Path(name).write_text("text,category\n")
    done = honed("models", "create", "support", *options)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not server.received


def test_a_folder_that_is_no_checkpoint_is_one_line(
    server: ScriptedServer, honed: Honed, tmp_path: Path
) -> None:
    done = honed("models", "create", "support", "--from", tmp_path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "model.safetensors" in line
    assert not server.received


def test_models_are_managed(server: ScriptedServer, honed: Honed) -> None:
    for method in ("Get", "PauseAdaptation", "ResumeAdaptation"):
        server.on(f"Models.{method}", MODEL)
    server.on("Models.List", models_pb2.ListModelsResponse(models=[MODEL]))
    server.on("Models.Delete", models_pb2.DeleteModelResponse(forgotten_feedback=7))
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


def test_the_numbers_behind_decisions_are_shown(server: ScriptedServer, honed: Honed) -> None:
    numbers = '{"e_better": 41.25, "audit_wins": 9, "positions": [1, 2, 3]}'
    decision = models_pb2.Decision(kind="gate", outcome="promoted", numbers_json=numbers)
    server.on("Models.ListVersions", models_pb2.ListVersionsResponse(decisions=[decision]))
    table = honed("versions", "list", "support").out
    assert "e_better 41.25, audit_wins 9, positions 3 entries" in table


def test_a_policy_is_shown_and_set_in_part(server: ScriptedServer, honed: Honed) -> None:
    policy = models_pb2.Policy(
        promotion=models_pb2.Policy.PROMOTION_DEFAULT, alpha=0.05, canary_share=0.1
    )
    policy.round_interval.FromSeconds(60)
    model = models_pb2.Model(name="support", policy=policy)
    server.on("Models.Get", model)
    server.on("Models.SetPolicy", model)
    assert "canary_share: 0.1" in honed("policy", "show", "support").out
    shown = honed("policy", "show", "support", "--json").json
    assert (shown["promotion"], shown["round_interval_s"]) == ("default", 60.0)
    settings = ("alpha=0.01", "promotion=manual", "keep_worse=true", "round_labels=500")
    honed("policy", "set", "support", *settings, "--requested-by", "ada")
    (request,) = server.requests("Models.SetPolicy")
    asked = request.policy
    assert (asked.alpha, asked.promotion, asked.keep_worse, asked.round_labels) == (
        0.01, models_pb2.Policy.PROMOTION_MANUAL, True, 500,
    )  # fmt: skip
    assert (asked.canary_share, asked.round_interval.seconds) == (0.1, 60)
    assert request.requested_by == "ada"


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("alfa=0.1", "did you mean alpha=...?"),
        ("alpha", "no setting of a policy"),
        ("alpha=much", "no float"),
        ("keep_worse=perhaps", "no bool"),
        ("promotion=always", "default, superior, manual"),
    ],
)
def test_a_policy_setting_that_is_none_is_wrong_usage(
    server: ScriptedServer, honed: Honed, setting: str, why: str
) -> None:
    done = honed("policy", "set", "support", setting)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not server.received
