"""Exported folders as transformers sees them: the same ids, the same labels, the same answers."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from checkpoints import FAMILIES, save_classifier, save_encoder
from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.export import ExportFile, export_files
from honed_adapt.encoders.own_head import read_own_head
from honed_adapt.encoders.store import (
    EncoderFiles,
    default_source,
    import_encoder,
    open_encoder,
)
from honed_adapt.head import Features, Head
from honed_adapt.scoring import weights_of
from honed_kernels.head import grouped_head
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.serving.tokenizer import Tokenizer
from oracle import real_texts

LABELS = ("refund", "lost | card", "Größe / 尺寸", "<b>other</b>")
REMOTE = {"trust_remote_code": True}
TEXTS = real_texts()


def made(source: Path, home: Path, *, classifier: bool) -> EncoderFiles:
    return open_encoder(home, import_encoder(source, home, classifier=classifier))


def trained(hidden: int, temperature: float = 0.25) -> Head:
    generator = np.random.default_rng(7)
    weight = generator.normal(size=(len(LABELS), hidden)).astype(np.float32)
    bias = generator.normal(size=len(LABELS)).astype(np.float32)
    return Head(LABELS, weight, bias, temperature)


def featured(hidden: int, count: int = 96) -> Head:
    """A head that would answer quite otherwise without its features."""
    generator = np.random.default_rng(8)
    weight = generator.normal(size=(len(LABELS), hidden + count)).astype(np.float32)
    weight[:, hidden:] *= 8
    bias = generator.normal(size=len(LABELS)).astype(np.float32)
    return Head(LABELS, weight, bias, 0.5, Features(count, 1.5, 3))


def write(files: Sequence[ExportFile], folder: Path) -> Path:
    folder.mkdir()
    for file in files:
        content = b"".join(file.chunks(1000))
        assert len(content) == file.size
        (folder / file.path).write_bytes(content)
    return folder


def answers(encoder: EncoderFiles, head: Head, texts: Sequence[str] = TEXTS) -> NDArray[np.float64]:
    """What Honed answers: its own engine's vectors, and the head with its temperature."""
    vectors = encode_texts(OnnxEncoder(encoder), Tokenizer(encoder), texts)
    rows = np.zeros(len(texts), np.int64)
    logits = grouped_head(vectors, rows, [weights_of(head)], logits=True).logits
    assert logits is not None
    scaled = np.stack(logits).astype(np.float64) / head.temperature
    weights = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def exported(encoder: EncoderFiles, head: Head, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder, and what loading its model needs."""
    stock = encoder.settings.dense is not None and head.features is None
    return write(export_files(encoder, head), folder), {} if stock else REMOTE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classifier", [True, False])
def test_transformers_answers_as_honed_does(family: str, classifier: bool, tmp_path: Path) -> None:
    save = save_classifier if classifier else save_encoder
    encoder = made(save(tmp_path / "source", family), tmp_path, classifier=classifier)
    head = trained(encoder.hidden)
    folder, options = exported(encoder, head, tmp_path / "out")
    expected = answers(encoder, head)

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text, truncation=True)["input_ids"] for text in TEXTS]
    assert ids == [row.ids.tolist() for row in Tokenizer(encoder).tokenise(TEXTS)]
    assert max(map(len, ids)) == encoder.max_tokens

    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, **options)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    with torch.no_grad():
        batch = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
        found = model(**batch).logits.softmax(-1).numpy()
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classifier", [True, False])
def test_features_answer_in_transformers_as_in_honed(
    family: str, classifier: bool, tmp_path: Path
) -> None:
    save = save_classifier if classifier else save_encoder
    encoder = made(save(tmp_path / "source", family), tmp_path, classifier=classifier)
    head = featured(encoder.hidden)
    folder, options = exported(encoder, head, tmp_path / "out")
    expected = answers(encoder, head)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True, **options
    )
    assert {name: found for name, found in report.items() if found} == {}
    with torch.no_grad():
        batch = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
        found = model(**batch).logits.softmax(-1).numpy()
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert np.abs(found - expected).max() < 1e-4


def test_features_are_not_imported_as_a_head(tmp_path: Path) -> None:
    encoder = made(save_encoder(tmp_path / "source"), tmp_path, classifier=False)
    folder, _ = exported(encoder, featured(encoder.hidden), tmp_path / "out")
    assert import_encoder(folder, tmp_path, classifier=True) == encoder.digest
    with pytest.raises(EncoderUnsupported, match="import the encoder alone"):
        read_own_head(folder)


@pytest.mark.parametrize("classifier", [True, False])
def test_nothing_is_missing_or_left_over(classifier: bool, tmp_path: Path) -> None:
    save = save_classifier if classifier else save_encoder
    encoder = made(save(tmp_path / "source"), tmp_path, classifier=classifier)
    folder, options = exported(encoder, trained(encoder.hidden), tmp_path / "out")
    _, report = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True, **options
    )
    assert {name: found for name, found in report.items() if found} == {}


def test_the_default_encoder_works_in_a_pipeline(tmp_path: Path) -> None:
    source = default_source()
    assert source is not None
    encoder = made(source, tmp_path, classifier=False)
    head = trained(encoder.hidden, temperature=0.05)
    folder, options = exported(encoder, head, tmp_path / "out")
    classify: Any = pipeline("text-classification", model=str(folder), **options)
    texts = TEXTS[::6]
    found = classify(texts, top_k=None, truncation=True, batch_size=4)
    for scores, expected in zip(found, answers(encoder, head, texts), strict=True):
        by_label = {score["label"]: score["score"] for score in scores}
        assert [by_label[label] for label in LABELS] == pytest.approx(expected, abs=1e-4)
        assert scores[0]["label"] == LABELS[expected.argmax()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classifier", [True, False])
def test_an_exported_folder_imports_as_the_same_encoder_and_head(
    family: str, classifier: bool, tmp_path: Path
) -> None:
    save = save_classifier if classifier else save_encoder
    encoder = made(save(tmp_path / "source", family), tmp_path, classifier=classifier)
    head = trained(encoder.hidden)
    folder, _ = exported(encoder, head, tmp_path / "out")
    assert import_encoder(folder, tmp_path, classifier=True) == encoder.digest
    again = read_own_head(folder)
    assert (again.labels, again.temperature) == (head.labels, 1.0)
    np.testing.assert_allclose(again.weight, head.weight / head.temperature, rtol=1e-6)
    np.testing.assert_allclose(again.bias, head.bias / head.temperature, rtol=1e-6)


@pytest.mark.parametrize(
    "honed",
    [None, {"pooling": "max"}, {"normalise": 1}, {"max_tokens": 65}, {"max_tokens": "9"}],
)
def test_a_folder_that_was_altered_is_refused(honed: dict[str, Any] | None, tmp_path: Path) -> None:
    encoder = made(save_encoder(tmp_path / "source"), tmp_path, classifier=False)
    folder, _ = exported(encoder, trained(encoder.hidden), tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    noted = {**config.pop("honed"), **honed} if honed else honed
    (folder / "config.json").write_text(json.dumps({**config, "honed": noted}))
    with pytest.raises(EncoderUnsupported, match="honed is not what Honed writes"):
        import_encoder(folder, tmp_path, classifier=True)


def test_files_come_in_chunks_with_their_size_and_hash(tmp_path: Path) -> None:
    encoder = made(save_encoder(tmp_path / "source"), tmp_path, classifier=False)
    files = export_files(encoder, trained(encoder.hidden))
    assert [file.path for file in files] == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "modeling_honed.py",
    ]  # fmt: skip
    for file in files:
        chunks = list(file.chunks(1000))
        assert max(map(len, chunks)) <= 1000
        assert sum(map(len, chunks)) == file.size
        assert hashlib.sha256(b"".join(chunks)).hexdigest() == file.sha256()
