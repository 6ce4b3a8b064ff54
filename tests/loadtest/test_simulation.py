"""`honed bench simulate` from the command line: a process with the costs of the real encoder."""

import json
from pathlib import Path

from typer.testing import CliRunner

from honed.commands import bench
from honed_loadtest.command import NOT_MEASURED

TEXTS = Path(__file__).parents[2] / "examples" / "support" / "anchor.csv"


def simulate(*arguments):
    command = ["simulate", "--texts", str(TEXTS), *map(str, arguments)]
    return CliRunner().invoke(bench.app, command, catch_exceptions=False)


def test_requests_are_drawn_and_a_copy_is_kept(tmp_path):
    options = ("--load-share", 5, "--seconds", 1, "--deadline-s", 0.2, "--bulk-share", 0.5)
    done = simulate(*options, "--json", "--out", tmp_path / "found.json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert {group["priority"] for group in found["groups"]} == {"bulk", "interactive"}
    assert all(group["refused"] > 0 for group in found["groups"])
    assert sum(found["batches"].values()) > 0


def test_a_trace_is_replayed_and_shown(tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 0, "tokens": [9, 9], "tenant": "acme"}\n')
    done = simulate("--trace", trace)
    assert done.exit_code == 0, done.stderr
    assert "acme" in done.stdout
    trace.write_text('{"at_s": 0}\n')
    wrong = simulate("--trace", trace)
    assert wrong.exit_code == NOT_MEASURED
    assert "line 1 of the trace" in wrong.stderr
    assert simulate("--trace", tmp_path / "none").exit_code == NOT_MEASURED
