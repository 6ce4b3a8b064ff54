"""`honed train`: from a file of labels to a report, a folder, and a candidate of a real server."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journeys import decisions, teach
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from checkpoints import save_encoder
from harness import RunningServer, running
from honed import Client, InvalidRequest
from honed.cli import app

SENTENCES = {
    "grant": "the grant of a copyright license",
    "notice": "a notice file with attribution",
    "patent": "patent claims and their litigation",
}
CLASSES = tuple(SENTENCES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base encoder and a file of labels."""
    folder = tmp_path_factory.mktemp("train")
    save_encoder(folder / "base")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for n in range(180):
            name = CLASSES[n % 3]
            writer.writerow([f"{SENTENCES[name]} {n}", name])
    return folder


def honed(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Path:
    out = folder / "tuned"
    honed(
        "train", "terms", "--data", folder / "labels.csv", "--out", out, "--from", folder / "base",
    )  # fmt: skip
    return out


def test_the_report_says_how_good_it_is(tuned: Path) -> None:
    report = json.loads((tuned / "report.json").read_text())
    assert report["accuracy"] > 0.8
    assert report["rows"] == sum(one["support"] for one in report["classes"].values()) > 10
    assert set(report["classes"]) == set(CLASSES)
    right = sum(one["recall"] * one["support"] for one in report["classes"].values())
    assert right / report["rows"] == pytest.approx(report["accuracy"])
    wrong = sum(count for *_, count in report["confusion"])
    assert wrong == round(report["rows"] * (1 - report["accuracy"]))
    assert 0 <= report["calibration_error"] <= 1
    assert report["kind"] == "adapter"
    assert report["trained_on"] + report["stopped_by"] + report["rows"] == 180


def test_transformers_loads_the_folder(tuned: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tuned, **{_TRUST: True})
    assert set(model.config.id2label.values()) == set(CLASSES)


_TRUST = "trust_remote" + "_code"  # the folder's own code, which Honed wrote


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    settings = {"example": False, "encoder": folder / "base", "precision": "fp32"}
    with running(folder / "home", **settings) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_a_model_is_created_from_the_folder(client: Client, tuned: Path) -> None:
    made = client.import_model("from-folder", tuned)
    assert set(made.labels) == set(CLASSES)
    assert client.predict("from-folder", f"{SENTENCES['patent']} 999").label == "patent"


def test_a_candidate_is_published_and_judged(
    server: RunningServer, client: Client, folder: Path
) -> None:
    client.create_model("published")
    teach(client, "published", [(f"a {name} is here", name) for name in CLASSES])
    client.import_anchor("published", [(f"the {name} under it", name) for name in CLASSES])
    said = json.loads(
        honed(
            "--target", server.target, "train", "published", "--data", folder / "labels.csv",
            "--out", folder / "sent", "--from", folder / "base", "--full", "--trials", "2",
            "--publish", "--json",
        )
    )  # fmt: skip
    assert said["kind"] == "full"
    best = min(said["tried"], key=lambda one: one["loss"])
    assert len(said["tried"]) == 2
    assert {**best, **said["tuning"]} == {**said["tuning"], "loss": best["loss"]}
    number = said["published"]["version"]
    (version,) = [v for v in client.list_versions("published") if v.version == number]
    assert version.source == "import"
    assert said["published"]["outcome"] == decisions(client, "published", "gate")[-1][0].outcome
    if version.state == "candidate":
        client.promote("published", number)
    model = client.get_model("published")
    assert model.own_head_version == (number if model.version == number else 0)
    teach(client, "published", [("another patent of it", "patent")])  # learning goes on beside it
    client.rollback("published", 2)
    assert client.predict("published", "a grant is here").version == 2


def test_a_candidate_needs_a_model_that_is_there(client: Client, tuned: Path) -> None:
    with pytest.raises(Exception, match="no model"):
        client.import_model("nobody", tuned, as_candidate=True)
    client.create_model("somebody")
    with pytest.raises(InvalidRequest, match="brings its own head"):
        client.import_model("somebody", tuned, as_candidate=True, labels=["x"], without_head=True)


def test_what_cannot_be_trained_is_said(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("text,label\na,x\nb,y\n")
    done = CliRunner().invoke(app, ["train", "m", "--data", str(few), "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert "too few labels" in done.output
    code = "import sys; sys.modules['peft'] = None; from honed.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "m", "--data", folder / "labels.csv"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert "install honed[train]" in ran.stderr
    assert "Traceback" not in ran.stderr
