"""`honed status` and `honed top`: one look at a server, or many."""

import pytest

from clients.commands import MODEL, Honed
from clients.scripted import ScriptedServer
from honed_proto.v1 import models_pb2

DECISIONS = models_pb2.ListVersionsResponse(
    decisions=[
        models_pb2.Decision(kind="create", outcome="created"),
        models_pb2.Decision(kind="gate", outcome="refused", reason="not better"),
    ]
)


@pytest.fixture(autouse=True)
def _models(server: ScriptedServer) -> None:
    own = models_pb2.Model(
        name="own", own_head_version=1, learned_weight=0.25, learned_evidence=4.2,
        adaptation_paused=True,
    )  # fmt: skip
    server.on("Models.List", models_pb2.ListModelsResponse(models=[own, MODEL]))
    server.on("Models.ListVersions", DECISIONS)


def test_status_shows_what_serves_what_lags_and_what_was_decided(honed: Honed) -> None:
    lines = honed("status").out.splitlines()
    (support,) = [line for line in lines if line.startswith("support")]
    assert [cell.strip() for cell in support.split("│")] == [
        "support", "3", "40", "1", "2", "0", "learning", "gate: refused",
    ]  # fmt: skip
    (own,) = [line for line in lines if line.startswith("own")]
    assert "paused, weight 0.25 (evidence 4.2)" in own


def test_status_is_one_json_object(server: ScriptedServer, honed: Honed) -> None:
    seen = honed("status", "--json").json
    assert seen["target"] == server.target
    assert seen["health"] == "unknown"  # the scripted server has no health service
    own, support = seen["models"]
    assert (own["learned_weight"], own["behind"]) == (0.25, 0)
    assert (support["behind"], support["labels"]) == (1, ["a", "b"])
    assert support["last_decision"]["reason"] == "not better"


def test_top_shows_the_models_where_there_are_no_metrics(honed: Honed) -> None:
    away = ("--metrics", "http://127.0.0.1:1/metrics", "--interval", "0.1")
    seen = honed("top", *away, "--json").json
    assert (seen["traffic"], [model["name"] for model in seen["models"]]) == (
        None,
        ["own", "support"],
    )
    assert "127.0.0.1:1" in seen["trouble"]
    page = honed("top", *away, "--once").out
    assert "give --metrics URL" in page
    assert "support" in page
