"""What is learned beside a user's own head: by audits only, on the record, and never for good."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from journeys import (
    TOLERANCE,
    answers,
    candidate,
    caught_up,
    decisions,
    distance,
    examples,
    saved_head,
    teach,
    trainer,
    wait_for,
)
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness import running
from honed import Client, Unavailable
from honed_adapt.encoders.store import default_source

SWAPPED = {"price": "stock", "stock": "price"}
AUDITS = examples(slice(6))
TEXTS = [text for text, _ in examples(slice(6, 8))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM with a head that takes two labels for each other, fitted by ridge regression."""
    folder, source = tmp_path_factory.mktemp("own"), default_source()
    texts, labels = zip(*examples(slice(2)), strict=True)
    names = sorted(set(labels))
    model = AutoModelForSequenceClassification.from_pretrained(
        source, id2label=dict(enumerate(names))
    )
    tokenizer = AutoTokenizer.from_pretrained(source)
    targets = torch.eye(len(names))[[names.index(SWAPPED.get(name, name)) for name in labels]]
    with torch.no_grad():
        inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
        # MiniLM's own pooler was never trained for anything.
        model.bert.pooler.dense.weight.copy_(torch.eye(model.config.hidden_size))
        model.bert.pooler.dense.bias.zero_()
        x = model.bert(**inputs).pooler_output
        mean = x.mean(0)
        gram = (x - mean).T @ (x - mean) + torch.eye(x.shape[1])
        weight = 8 * torch.linalg.solve(gram, (x - mean).T @ (targets - targets.mean(0))).T
        model.classifier.weight.copy_(weight)
        model.classifier.bias.copy_(-weight @ mean)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def right(client: Client, model: str) -> int:
    """Answers that are right, of texts that were never taught."""
    return sum(client.predict(model, text).label == label for text, label in examples(slice(6, 8)))


def test_audits_raise_the_weight_on_the_record(server, client, name, folder):
    client.import_model(name, folder)
    before = right(client, name)
    teach(client, name, AUDITS)
    model = wait_for(client, name, caught_up, timeout_s=60)
    assert model.learned_weight > 0
    assert model.learned_evidence > 3
    assert before < len(TEXTS) - 10 < right(client, name)
    raised = decisions(client, name, "evidence")
    assert raised[0][0].outcome == "raised"
    assert raised[0][1]["weight_before"] == 0
    assert raised[-1][1]["weight_after"] == model.learned_weight
    for decision, numbers in raised:
        assert decision.actor == "evidence"
        assert numbers.keys() == {"weight_before", "weight_after", "evidence", "revision"}


def test_corrections_alone_do_not(server, client, name, folder):
    client.import_model(name, folder)
    before = answers(client, name, TEXTS)
    teach(client, name, AUDITS, kind="correction")
    model = wait_for(client, name, caught_up, timeout_s=60)
    assert model.revision == model.log_position
    assert (model.learned_weight, model.version) == (0, 1)
    assert decisions(client, name, "evidence") == []
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE


def test_without_its_labels_it_is_the_own_head_again(server, client, name, folder):
    client.import_model(name, folder)
    before = answers(client, name, TEXTS)
    ids = [ack.feedback_id for ack in teach(client, name, AUDITS)]
    assert distance(answers(client, name, TEXTS), before) > 0.1
    client.delete(name, ids)
    model = client.get_model(name)
    assert (model.learned_weight, model.learned_evidence) == (0, 0)
    assert decisions(client, name, "evidence")[-1][0].outcome == "lowered"
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE
    home = server.config.home
    own, kept = saved_head(home, name, 1), saved_head(home, name, model.version)
    assert (kept.labels, kept.temperature) == (own.labels, own.temperature)
    assert (kept.weight == own.weight).all()
    assert (kept.bias == own.bias).all()


def test_rolling_back_to_version_1_serves_the_own_head(server, client, name, folder):
    client.import_model(name, folder)
    before = answers(client, name, TEXTS)
    teach(client, name, AUDITS)
    weight = wait_for(client, name, caught_up, timeout_s=60).learned_weight
    assert weight > 0
    client.promote(name)
    client.rollback(name, 1)
    model = client.get_model(name)
    assert (model.version, model.revision, model.learned_weight) == (1, 0, 0)
    assert (model.suspect_from, model.suspect_to) == (1, model.log_position)
    assert distance(answers(client, name, TEXTS), before) < TOLERANCE
    client.resume(name)
    assert wait_for(client, name, caught_up, timeout_s=60).learned_weight == weight


def test_while_the_adapt_process_is_down(tmp_path, folder):
    """What was learned serves on with its weight, and what was deleted does not."""
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        client.import_model("m", folder)
        own = answers(client, "m", TEXTS)
        ids = [ack.feedback_id for ack in teach(client, "m", AUDITS)]
        before = wait_for(client, "m", caught_up, timeout_s=60)
        learned = answers(client, "m", TEXTS)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        now = client.get_model("m")
        assert (now.version, now.revision) == (2, before.revision)
        assert now.learned_weight == before.learned_weight > 0
        assert now.learned_evidence == before.learned_evidence
        assert distance(answers(client, "m", TEXTS), learned) < TOLERANCE
        with pytest.raises(Unavailable):
            client.delete("m", ids, timeout_s=1)
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert client.list_versions("m")[-1].tainted_position
        assert client.get_model("m").learned_weight == 0
        assert distance(answers(client, "m", TEXTS), own) < TOLERANCE


def test_a_candidate_on_another_encoder_leaves_the_own_head_behind(server, client, name, folder):
    client.import_model(name, folder)
    client.create_model(f"{name}-b")
    teach(client, f"{name}-b", AUDITS)
    wait_for(client, f"{name}-b", caught_up, timeout_s=60)
    client.promote(f"{name}-b")
    offer = candidate(client, f"{name}-b", saved_head(server.config.home, f"{name}-b", 2))
    with trainer(server.config.home) as door:
        verdict = door.offer(replace(offer, model=name))
    client.promote(name, verdict.number)
    teach(client, name, AUDITS)
    model = client.get_model(name)
    assert model.encoder_digest == offer.encoder_digest
    assert (model.own_head_version, model.learned_weight) == (1, 1)
    assert right(client, name) == len(TEXTS)
    client.rollback(name, 1)
    assert client.get_model(name).learned_weight == 0


def test_a_damaged_own_head_ends_the_learning_of_its_model_alone(tmp_path, folder):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        client.import_model("m", folder)
        teach(client, "m", AUDITS)
        wait_for(client, "m", caught_up, timeout_s=60)
        learned = answers(client, "m", TEXTS)
    (home / "models" / "m" / "versions" / "1" / "head.safetensors").write_bytes(b"")
    with running(home, example=False, ready_ms=0) as server, server.client() as client:
        client.create_model("other")
        teach(client, "other", [("hello", "greeting"), ("where is it", "track")])
        client.submit(model="m", text="where is it", label="track")
        teach(client, "other", [("bye", "farewell")])  # read after what was said to the first
        model = client.get_model("m")
        assert model.revision < model.log_position
        assert distance(answers(client, "m", TEXTS), learned) < TOLERANCE
