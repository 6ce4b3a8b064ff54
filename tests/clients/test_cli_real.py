"""The commands against a real server: health, traffic, own models, files that are learned."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from checkpoints import LABELS, save_classifier
from clients.commands import HONED, Honed, honed_at
from harness import RunningServer, running


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("real") / "home", example=False) as server:
        yield server


@pytest.fixture
def honed(real: RunningServer) -> Honed:
    return honed_at(real.target)


def _metrics(real: RunningServer) -> tuple[str, str]:
    return "--metrics", f"http://127.0.0.1:{real.server.http_port}/metrics"


def test_a_model_is_created_with_a_file_that_it_has_learned(honed: Honed, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    texts = {"card": "my credit card was swallowed", "loan": "I want to borrow money"}
    rows = [{"text": f"{texts[label]} {n}", "label": label} for n in range(8) for label in texts]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in (*rows, {"text": "", "label": "x"})))
    done = honed("models", "create", "bank", "--data", file, "--json")
    assert done.code == 1  # the row without a text was refused
    assert (done.json["labels"], done.json["imported"]["recorded"]) == (["card", "loan"], 16)
    assert done.json["revision"] >= done.json["imported"]["position"]
    answer = honed("predict", "bank", "lend me money", "--json").json["predictions"][0]
    assert answer["scores"][0]["label"] == "loan"
    replayed = honed("replay", answer["prediction_id"], "--json")
    assert (replayed.code, replayed.json["matches"]) == (0, True)
    again = honed("feedback", "import", "bank", file, "--wait", "--json").json
    assert (again["already_recorded"], again["refused"]) == (16, 1)
    assert again["served_revision"] >= again["position"]


def test_waiting_for_a_model_that_does_not_learn_is_an_error(honed: Honed, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("text,label\nhello,greet\n")
    honed("models", "create", "paused")
    honed("models", "pause", "paused")
    done = honed("feedback", "import", "paused", file, "--wait")
    assert done.code == 2
    assert "honed models resume paused" in done.err


def test_an_own_checkpoint_is_sent_served_and_taken_back(honed: Honed, tmp_path: Path) -> None:
    save_classifier(tmp_path / "checkpoint")
    done = honed("models", "create", "own", "--from", tmp_path / "checkpoint")
    assert done.code == 0, done.err
    assert LABELS[0] in done.out
    assert "version 1 is your own head" in done.out
    headless = ("--without-head", "--labels", "yes,no", "--closed-labels", "--json")
    empty = honed("models", "create", "empty", "--from", tmp_path / "checkpoint", *headless).json
    assert (empty["own_head_version"], empty["hidden_size"]) == (0, 32)
    done = honed("export", "own", tmp_path / "export")
    assert done.code == 0, done.err
    assert 'pipeline("text-classification"' in done.out
    assert (tmp_path / "export" / "config.json").is_file()
    taken = honed("export", "own", tmp_path / "export")
    assert taken.code == 2
    assert len(taken.err.splitlines()) == 1


def test_a_checkpoint_that_cannot_be_served_is_refused_in_one_line(
    honed: Honed, tmp_path: Path
) -> None:
    folder = save_classifier(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    done = honed("models", "create", "llama", "--from", folder)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "llama" in line
    assert "(CHECKPOINT_UNSUPPORTED)" in line


def test_status_and_top_see_a_server_that_works(honed: Honed, real: RunningServer) -> None:
    assert honed("status", "--json").json["health"] == "serving"
    with real.client() as client:
        client.create_model("busy")
        client.submit(model="busy", text="hello", label="greet", wait=True)
        top = subprocess.Popen(
            [HONED, "--target", real.target, "top", *_metrics(real), "--json", "--interval", "2"],
            stdout=subprocess.PIPE,
        )
        while top.poll() is None:
            client.predict("busy", "hello")
        out, _ = top.communicate()
    seen = json.loads(out)
    assert seen["traffic"]["requests_per_s"] > 1
    assert 0 < seen["traffic"]["p50_ms"] <= seen["traffic"]["p99_ms"]
    (busy,) = [model for model in seen["models"] if model["name"] == "busy"]
    assert (busy["labels"], busy["behind"]) == (1, 0)


def test_top_on_a_terminal_goes_on_until_q(real: RunningServer) -> None:
    ours, theirs = pty.openpty()
    command = [HONED, "--target", real.target, "top", *_metrics(real), "--interval", "0.1"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment) as top:
        os.close(theirs)
        shown = b""
        while shown.count(b"requests/s") < 2:
            shown += os.read(ours, 4096)
        os.write(ours, b"q")
        with suppress(OSError):  # the other end is closed
            while os.read(ours, 4096):
                pass
    os.close(ours)
    assert top.returncode == 0
