"""Models exported from a real server: transformers answers as it did, and the card is true."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from huggingface_hub import ModelCard
from journeys import (
    TOLERANCE,
    Answers,
    answers,
    distance,
    examples,
    held,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)
from journeys import candidate as offer
from refusals import raised
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from checkpoints import FAMILIES, LABELS, save_classifier
from honed import Client, Unavailable
from honed_adapt.head import Head
from honed_proto.v1 import models_pb2 as pb

BASE, ANCHORS = examples(slice(2)), examples(slice(4, 5))
TEXTS = [text for text, _ in examples(slice(6, 7))]
CODE = {"trust_remote_code": True}


def loaded(folder: Path, **options: Any) -> Answers:
    """What transformers answers, all texts in one padded batch."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, **options)
    with torch.no_grad():
        batch = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
        rows = model(**batch).logits.softmax(-1).tolist()
    names = model.config.id2label
    return {
        text: {names[i]: probability for i, probability in enumerate(row)}
        for text, row in zip(TEXTS, rows, strict=True)
    }


def test_what_serves_answers_alike_outside_and_when_it_comes_back(client, name, tmp_path):
    taught(client, name, BASE)
    teach(client, name, [("it is lost", "lost")])
    served = answers(client, name, TEXTS)
    export = client.export_model(name, tmp_path / "out")
    model = client.get_model(name)
    assert (export.model, export.version, export.revision) == (name, 2, model.revision)
    assert distance(loaded(tmp_path / "out", **CODE), served) < TOLERANCE
    again = client.import_model(f"{name[:50]}-again", tmp_path / "out")
    assert again.encoder_digest == model.encoder_digest
    assert distance(answers(client, again.name, TEXTS), served) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_an_own_model_comes_back_with_what_it_learned(client, name, tmp_path, family):
    first = client.import_model(name, save_classifier(tmp_path / "own", family))
    teach(client, name, [(text, LABELS[len(text) % 2]) for text, _ in BASE], kind="audit")
    client.export_model(name, tmp_path / "out")
    served = answers(client, name, TEXTS)
    assert distance(loaded(tmp_path / "out"), served) < TOLERANCE
    again = client.import_model(f"{name[:50]}-again", tmp_path / "out")
    assert again.encoder_digest == first.encoder_digest
    assert distance(answers(client, again.name, TEXTS), served) < TOLERANCE


def test_an_earlier_version_is_exported_as_it_served(client, name, tmp_path):
    taught(client, name, BASE)
    before = answers(client, name, TEXTS)
    teach(client, name, [(text, "lost") for text in TEXTS[:5]])
    client.promote(name)
    export = client.export_model(name, tmp_path / "out", version=2)
    assert (export.version, export.revision) == (2, client.list_versions(name)[1].log_position)
    assert distance(loaded(tmp_path / "out", **CODE), before) < TOLERANCE
    facts = json.loads((tmp_path / "out" / "honed.json").read_text())
    assert [one["version"] for one in facts["lineage"]] == [2, 1]
    assert {one["label"]: one["texts"] for one in facts["labels"]}["track"] == 6


def test_the_card_counts_and_names_nobody(client, name, tmp_path):
    taught(client, name, BASE[:-1], submitter="ada lovelace")
    client.import_anchor(name, ANCHORS)
    teach(client, name, [BASE[-1]], submitter="expert")
    # The expert's label for this text outranks the newer one.
    (retracted, _) = teach(
        client, name, [("gone", "track"), (BASE[-1][0], "track")], kind="correction"
    )
    client.retract(name, retracted.feedback_id, wait=True, timeout_s=30)
    client.promote(name, requested_by="ada lovelace")
    model = client.get_model(name)
    client.export_model(name, tmp_path / "out")

    facts = json.loads((tmp_path / "out" / "honed.json").read_text())
    assert (facts["model"], facts["version"], facts["revision"]) == (name, 3, model.revision)
    assert facts["encoder"]["digest"] == model.encoder_digest
    assert [one["label"] for one in facts["labels"]] == list(model.labels)
    assert {one["texts"] for one in facts["labels"]} == {6}
    assert facts["feedback"] == {
        "audit": {"active": len(BASE)},
        "correction": {"active": 1, "retracted": 1},
        "retraction": {"active": 1},
    }
    predicted = client.predict_many(name, [text for text, _ in ANCHORS])
    right = sum(p.label == label for p, (_, label) in zip(predicted, ANCHORS, strict=True))
    assert facts["metrics"] == {"anchor_examples": len(ANCHORS), "anchor_correct": right}
    decided = [[d["outcome"] for d in one["decisions"]] for one in facts["lineage"]]
    assert decided == [["promoted"], ["promoted"], ["created"]]

    text = (tmp_path / "out" / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert "| track | 6 |" in text
    assert f"| anchor_correct | {right} |" in text
    assert "| 2 | checkpoint |" in text
    everything = text + json.dumps(facts)
    assert not any(word in everything for word in ("ada", "lovelace", "expert", "gone"))
    assert not any(sent in everything for sent, _ in BASE)


def test_labels_may_have_any_sign(client, name, tmp_path):
    labels = ["a | b", "$x", "`c` *d*", "<b>", "尺寸"]
    taught(client, name, [(text, labels[n % 5]) for n, (text, _) in enumerate(BASE)])
    served = answers(client, name, TEXTS)
    client.export_model(name, tmp_path / "out")
    assert distance(loaded(tmp_path / "out", **CODE), served) < TOLERANCE
    text = (tmp_path / "out" / "README.md").read_text()
    assert r"| a \| b | 6 |" in text
    assert r"| \<b\> | 6 |" in text


def test_what_must_not_leave_is_refused(server, client, name, tmp_path):
    def refusal(model: str = name, version: int = 0) -> str | None:
        folder = tmp_path / "out"
        error = raised(lambda: client.export_model(model, folder, version=version))
        assert not folder.exists()
        return error.reason

    assert refusal("nobody") == "UNKNOWN_MODEL"
    client.create_model(name)
    assert refusal() == "TOO_FEW_LABELS"
    acks = teach(client, name, BASE)
    wait_for(client, name, lambda one: one.version == 2)
    assert refusal(version=9) == "UNKNOWN_VERSION"
    assert refusal(version=1) == "TOO_FEW_LABELS"

    client.import_anchor(name, ANCHORS)
    good = saved_head(server.config.home, name, 2)
    wrong = Head(good.labels[1:] + good.labels[:1], good.weight, good.bias, good.temperature)
    with trainer(server.config.home) as door:
        assert door.offer(offer(client, name, wrong)).outcome == "refused"
    assert refusal(version=3) == "CANNOT_EXPORT"

    client.delete(name, [acks[0].feedback_id])
    assert refusal(version=2) == "CANNOT_EXPORT"
    with held(server.server.adapt_pid), pytest.raises(Unavailable):
        client.delete(name, [acks[1].feedback_id], timeout_s=2)
    assert refusal() == "DELETION_PENDING"
    client.delete(name, [acks[1].feedback_id])
    newest = client.get_model(name).version
    damaged = server.config.home / "models" / name / "versions" / str(newest) / "labels.json"
    damaged.write_bytes(b"[]")
    assert refusal(version=newest) == "VERSION_DAMAGED"
    client.export_model(name, tmp_path / "serves")


def test_who_hangs_up_leaves_nothing_behind(server, client: Client, name):
    taught(client, name, BASE)
    before = {path for path in server.config.home.rglob("*") if ".sqlite" not in path.name}
    request = pb.ExportModelRequest(model=name).SerializeToString()
    with grpc.insecure_channel(server.target) as channel:
        stream = channel.unary_stream("/honed.v1.Models/Export")(request, timeout=30)
        start = pb.ExportModelResponse.FromString(next(stream)).start
        chunk = pb.ExportModelResponse.FromString(next(stream)).chunk
        stream.cancel()
    sizes = {file.path: file.size for file in start.files}
    assert sizes["model.safetensors"] > 80e6
    assert chunk.path == start.files[0].path
    assert client.predict(name, TEXTS[0]).label
    after = {path for path in server.config.home.rglob("*") if ".sqlite" not in path.name}
    assert after == before
