"""A user's fine-tuned checkpoint as a model: its answers, what it refuses, and what it survives."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from folders import left_behind, parts, send, unfinished
from journeys import answers, ask_until, decisions, examples, serving, teach
from refusals import Expected, raised
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from checkpoints import FAMILIES, LABELS, POSITIONS, save_classifier, save_encoder
from harness import running
from honed import Client
from honed_proto.v1 import models_pb2 as pb
from oracle import probabilities, real_texts

TOLERANCE = 1e-4
TEXTS = [text for text, _ in examples(slice(2))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("own"))


def off(client: Client, model: str, folder: Path, texts: list[str] = TEXTS) -> float:
    """How far the served probabilities are from transformers', at most."""
    served = answers(client, model, texts)
    expected = probabilities(folder, texts)
    return max(
        abs(served[text][label] - row[i])
        for text, row in zip(texts, expected, strict=True)
        for i, label in enumerate(LABELS)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_its_answers_are_the_checkpoints(server, client, name, tmp_path, family):
    folder = save_classifier(tmp_path, family)
    model = client.import_model(name, folder)
    assert (model.version, model.revision, model.labels) == (1, 0, LABELS)
    assert (model.own_head_version, model.learned_weight, model.learned_evidence) == (1, 0, 0)
    assert (model.max_tokens, model.hidden_size, model.temperature) == (POSITIONS, 32, 1)
    texts = [text for text in real_texts() if text]
    assert off(client, name, folder, texts) < TOLERANCE
    best = probabilities(folder, texts).argmax(axis=1)
    predicted = [prediction.label for prediction in client.predict_many(name, texts)]
    assert predicted == [LABELS[i] for i in best]
    (version,) = client.list_versions(name)
    assert (version.source, version.state, version.num_labels) == ("import", "active", len(LABELS))
    ((decision, _),) = decisions(client, name, "create")
    assert (decision.outcome, decision.version) == ("created", 1)


def test_the_encoder_alone_starts_without_labels(server, client, name, folder):
    model = client.import_model(name, folder, without_head=True, labels=["a", "b"])
    assert (model.version, model.labels, model.own_head_version) == (1, (), 0)
    assert model.learned_weight == 1
    taught = examples(slice(2))
    teach(client, name, taught)
    # A random encoder need not tell them apart.
    assert client.predict(name, TEXTS[0]).label in {intent for _, intent in taught}


def test_an_untrained_head_is_refused_but_its_encoder_is_not(server, client, name, tmp_path):
    base = save_encoder(tmp_path / "base")
    fresh = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    fresh.save_pretrained(tmp_path / "fresh")
    shutil.copy(base / "tokenizer.json", tmp_path / "fresh")
    for folder in (base, tmp_path / "fresh"):
        error = raised(lambda folder=folder: client.import_model(name, folder))
        Expected("INVALID_ARGUMENT", "HEAD_UNTRAINED", "files", "--without-head").check(error)
        assert str(server.config.home) not in error.message
    assert client.import_model(name, tmp_path / "fresh", without_head=True).version == 1


def without(file: str) -> Callable[[Path], Path]:
    def remove(folder: Path) -> Path:
        save_classifier(folder)
        (folder / file).unlink()
        return folder

    return remove


def labelled(*labels: str) -> Callable[[Path], Path]:
    return lambda folder: save_classifier(folder, labels=labels)


def extreme(folder: Path) -> Path:
    """Weights of a size at which float32 and float64 part."""
    weights = save_classifier(folder) / "model.safetensors"
    tensors = {name: tensor * 1e6 for name, tensor in load_file(weights).items()}
    save_file(tensors, weights)
    return folder


UNSUPPORTED = "CHECKPOINT_UNSUPPORTED"
UNSERVED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "no-config": (without("config.json"), UNSUPPORTED, "config.json"),
    "no-tokenizer": (without("tokenizer.json"), UNSUPPORTED, "AutoTokenizer"),
    "no-weights": (without("model.safetensors"), UNSUPPORTED, "save_pretrained"),
    "activation": (lambda f: save_classifier(f, hidden_act="silu"), UNSUPPORTED, "hidden_act"),
    "label": (labelled("good", "bad\n"), "BAD_LABEL", "id2label[1]"),
    "blank-label": (labelled("good", " "), "BAD_LABEL", "id2label[1]"),
    "twice": (labelled("good", "good"), UNSUPPORTED, "twice"),
    "regression": (labelled("score"), UNSUPPORTED, "regression"),
    "extreme": (extreme, UNSUPPORTED, "extreme"),
}


@pytest.mark.parametrize(("make", "reason", "says"), UNSERVED.values(), ids=UNSERVED)
def test_what_cannot_be_served_is_refused_by_name(server, name, tmp_path, make, reason, says):
    error = raised(lambda: send(server.target, parts(make(tmp_path), name)))
    Expected("INVALID_ARGUMENT", reason, "files", says).check(error)
    assert left_behind(server.config.home) == []


@pytest.fixture(scope="module")
def taken(client: Client) -> None:
    client.create_model("taken")
    client.create_model("gone")
    client.delete_model("gone")


STARTS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "name": ({"name": "A"}, "INVALID_ARGUMENT", "BAD_MODEL_NAME", "name", "start with"),
    "taken": ({"name": "taken"}, "ALREADY_EXISTS", "MODEL_EXISTS", "name", "another name"),
    "gone": ({"name": "gone"}, "ALREADY_EXISTS", "MODEL_EXISTS", "name", "not free again"),
    "label": (
        {"labels": ["a", ""], "without_head": True},
        *("INVALID_ARGUMENT", "BAD_LABEL", "labels[1]", "label name"),
    ),
    "labels": (
        {"labels": ["a"]},
        *("INVALID_ARGUMENT", "UNEXPECTED_FIELD", "labels", "leave them out"),
    ),
    "closed": (
        {"closed_labels": True, "without_head": True},
        *("INVALID_ARGUMENT", "MISSING_FIELD", "labels", "needs labels"),
    ),
    "files": ({}, "INVALID_ARGUMENT", "BAD_COUNT", "files", "send 1 to 64"),
}


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("fields", "status", "reason", "field", "says"), STARTS.values(), ids=STARTS
)
def test_a_bad_start_is_refused_before_the_folder_is_sent(
    server, name, fields, status, reason, field, says
):
    start = pb.ImportModelRequest(start=pb.ImportModelStart(**{"name": name, **fields}))
    with unfinished(server.target, [start]) as upload:
        Expected(status, reason, field, says).check(raised(upload.result))


def broken(messages: list[pb.ImportModelRequest], how: str) -> list[pb.ImportModelRequest]:
    start, *chunks = messages
    match how:
        case "no-start":
            return chunks
        case "other-order":
            return [start, *reversed(chunks)]
        case "cut-off":
            return messages[:-1]
        case "traversal":
            start.start.files[0].path = "../config.json"
        case "other-bytes":
            chunks[0].chunk.data = b"x" * len(chunks[0].chunk.data)
        case "too-large":
            start.start.files[1].size = 1 << 40
    return messages


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no-start", "MISSING_FIELD"),
        ("other-order", "BAD_CHUNK"),
        ("cut-off", "UPLOAD_INCOMPLETE"),
        ("traversal", "BAD_PATH"),
        ("other-bytes", "CHECKSUM_MISMATCH"),
        ("too-large", "CHECKPOINT_TOO_LARGE"),
    ],
)
def test_a_malformed_upload_leaves_nothing_behind(server, client, name, folder, how, reason):
    before = sorted(server.config.home.glob("encoders/*"))
    error = raised(lambda: send(server.target, broken(parts(folder, name), how)))
    assert (error.status, error.reason) == ("INVALID_ARGUMENT", reason), error.message
    assert left_behind(server.config.home) == []
    assert sorted(server.config.home.glob("encoders/*")) == before
    assert raised(lambda: client.get_model(name)).reason == "UNKNOWN_MODEL"
    assert client.import_model(name, folder).version == 1


def test_a_caller_who_leaves_half_way_leaves_nothing_behind(server, client, name, folder):
    home = server.config.home
    with unfinished(server.target, parts(folder, name)[:2]) as upload:
        ask_until(lambda: left_behind(home))
        busy = raised(lambda: client.import_model(name, folder))
        assert (busy.status, busy.reason) == ("RESOURCE_EXHAUSTED", "IMPORT_BUSY")
        upload.call.cancel()
        ask_until(lambda: not left_behind(home))
    assert raised(lambda: client.get_model(name)).reason == "UNKNOWN_MODEL"
    assert client.import_model(name, folder).version == 1


def test_a_server_killed_half_way_starts_clean(tmp_path, folder):
    home = tmp_path / "h"
    sent = parts(folder, "m")[:2]
    with serving(home, "--no-adapt") as process, unfinished(process.target, sent):
        ask_until(lambda: left_behind(home))
        process.kill()
    assert left_behind(home)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert left_behind(home) == []
        assert client.list_models() == []
        client.import_model("m", folder)
        assert off(client, "m", folder) < TOLERANCE


def test_a_restart_keeps_it(tmp_path, folder):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        before = client.import_model("m", folder, closed_labels=True)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert client.get_model("m") == replace(before, adapt_state="down")
        assert off(client, "m", folder) < TOLERANCE


def test_closed_labels_are_the_heads_own(server, client, name, folder):
    assert client.import_model(name, folder, closed_labels=True).closed_labels
    error = raised(lambda: client.submit(model=name, text="hello", label="new"))
    Expected("INVALID_ARGUMENT", "UNKNOWN_LABEL", "items[0].label", "closed labels").check(error)
    teach(client, name, [("hello", LABELS[1])])


def test_models_of_one_encoder_share_it(server, client, name, tmp_path, folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.mul_(-1)
    model.save_pretrained(tmp_path)
    shutil.copy(folder / "tokenizer.json", tmp_path)
    shutil.copy(folder / "tokenizer_config.json", tmp_path)
    one = client.import_model(f"{name}-1", folder)
    encoders = sorted(server.config.home.glob("encoders/*"))
    two = client.import_model(f"{name}-2", tmp_path)
    assert one.encoder_digest == two.encoder_digest
    assert sorted(server.config.home.glob("encoders/*")) == encoders
    assert off(client, one.name, folder) < TOLERANCE
    assert off(client, two.name, tmp_path) < TOLERANCE
