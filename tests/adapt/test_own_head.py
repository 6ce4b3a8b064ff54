import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from checkpoints import FAMILIES, LABELS, save_classifier, save_encoder
from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.own_head import HeadUntrained, read_own_head

HEAD = {"bert": "classifier", "roberta": "classifier.out_proj", "distilbert": "classifier"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "source")


def _configure(folder: Path, changes: Mapping[str, object]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_is_the_checkpoints_own(tmp_path: Path, family: str) -> None:
    source = save_classifier(tmp_path, family)
    head = read_own_head(source)
    head.validate(32)
    stored = load_file(source / "model.safetensors")
    name = HEAD[family.removeprefix("xlm-")]
    assert (head.labels, head.temperature) == (LABELS, 1.0)
    np.testing.assert_array_equal(head.weight, stored[f"{name}.weight"])
    np.testing.assert_array_equal(head.bias, stored[f"{name}.bias"])


def test_labels_go_by_their_number_not_by_their_place(tmp_path: Path) -> None:
    names = [f"label {number}" for number in range(12)]
    source = save_classifier(tmp_path, labels=names)
    _configure(source, {"id2label": {str(i): names[i] for i in sorted(range(12), key=str)}})
    assert read_own_head(source).labels == tuple(names)


def test_without_names_two_labels_have_those_of_transformers(tmp_path: Path) -> None:
    source = save_classifier(tmp_path, labels=("LABEL_0", "LABEL_1"))
    _configure(source, {"id2label": None})
    assert read_own_head(source).labels == ("LABEL_0", "LABEL_1")


def test_a_head_of_half_precision_is_widened(source: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    halved = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    save_file(halved, source / "model.safetensors")
    head = read_own_head(source)
    assert head.weight.dtype == np.float32
    np.testing.assert_array_equal(head.weight, halved["classifier.weight"])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_without_a_head_is_told_so(tmp_path: Path, family: str) -> None:
    source = save_encoder(tmp_path, family)
    name = HEAD[family.removeprefix("xlm-")]
    with pytest.raises(HeadUntrained, match=rf"lacks the tensor {name}\.weight; .*--without-head"):
        read_own_head(source)


@pytest.mark.parametrize("labels", [2, 77])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_as_initialised_is_recognised(tmp_path: Path, family: str, labels: int) -> None:
    base = save_encoder(tmp_path / "base", family)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    model.save_pretrained(tmp_path / "fresh")
    (base / "tokenizer.json").rename(tmp_path / "fresh" / "tokenizer.json")
    with pytest.raises(HeadUntrained, match=r"never trained.*fine-tune the model"):
        read_own_head(tmp_path / "fresh")


def test_training_without_biases_is_training(source: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.bias"][:] = 0
    tensors["classifier.weight"] -= tensors["classifier.weight"].mean()
    save_file(tensors, source / "model.safetensors")
    assert not read_own_head(source).bias.any()


def test_a_briefly_fine_tuned_head_is_taken(fine_tuned: Path) -> None:
    head = read_own_head(fine_tuned)
    assert head.num_labels == 4
    assert head.bias.any()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label"),
        ({"problem_type": "regression"}, "problem_type is 'regression'"),
        ({"id2label": {"0": "a", "1": "b"}}, "id2label must name the rows of the head, 0 to 2"),
        ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "id2label must name the rows"),
        ({"id2label": ["a", "b", "c"]}, "id2label must name the rows"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "id2label names 'a' twice"),
    ],
)
def test_a_head_of_another_kind_is_refused_by_name(
    source: Path, changes: Mapping[str, object], reason: str
) -> None:
    _configure(source, changes)
    with pytest.raises(EncoderUnsupported, match=rf"config\.json: {reason}"):
        read_own_head(source)


def test_a_regression_is_refused(tmp_path: Path) -> None:
    source = save_classifier(tmp_path, labels=("score",))
    with pytest.raises(EncoderUnsupported, match="1 row, a regression"):
        read_own_head(source)


@pytest.mark.parametrize(
    "task", [AutoModelForTokenClassification, AutoModelForMultipleChoice], ids=["tokens", "choice"]
)
def test_a_model_for_another_task_is_refused_by_name(source: Path, task: type) -> None:
    task.from_pretrained(source, ignore_mismatched_sizes=True).save_pretrained(source)
    with pytest.raises(EncoderUnsupported, match=r"architectures is \['BertFor.*'\]"):
        read_own_head(source)


def test_a_head_of_another_width_is_refused(source: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.weight"] = np.ones((3, 31), np.float32)
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(EncoderUnsupported, match=r"classifier\.weight has shape \(3, 31\)"):
        read_own_head(source)
