import json
import shutil
from pathlib import Path

import pytest

from checkpoints import POSITIONS, save_classifier
from honed_adapt.encoders.checkpoint import EncoderUnsupported, Settings
from honed_adapt.encoders.families import Dense
from honed_adapt.encoders.source import read_source

ANY = int(1e30)  # what transformers writes for "no limit"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def source(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "source"))


def _modules(*kinds: str) -> str:
    """A modules.json that puts each part but the first into a folder of its own name."""
    return json.dumps([{"path": k if i else "", "type": f"m.{k}"} for i, k in enumerate(kinds)])


@pytest.mark.parametrize(
    ("family", "dense"),
    [
        ("bert", Dense("pooler.dense", "tanh")),
        ("roberta", Dense("classifier.dense", "tanh")),
        ("distilbert", Dense("pre_classifier", "relu")),
    ],
)
def test_a_classifier_reads_what_its_head_reads(tmp_path: Path, family: str, dense: Dense) -> None:
    source = save_classifier(tmp_path, family)
    settings = read_source(source, classifier=True).settings
    assert settings == Settings("cls", False, POSITIONS, dense)


def test_an_encoder_alone_is_averaged_and_normalised(source: Path) -> None:
    assert read_source(source, classifier=False).settings == Settings("mean", True, POSITIONS)


@pytest.mark.parametrize(
    ("model_max_length", "truncation", "limit"),
    [
        (32, None, 32),
        (32, {"max_length": 16}, 32),
        (ANY, {"max_length": 16}, 16),
        (None, {"max_length": 16}, 16),
        (ANY, None, POSITIONS),
        (512, None, POSITIONS),
        ("512", [16], POSITIONS),
    ],
)
def test_a_classifier_keeps_its_tokenizers_limit(
    source: Path, model_max_length: object, truncation: object, limit: int
) -> None:
    tokenizer = json.loads((source / "tokenizer.json").read_text()) | {"truncation": truncation}
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.dumps({"model_max_length": model_max_length})
    (source / "tokenizer_config.json").write_text(config)
    assert read_source(source, classifier=True).settings.max_tokens == limit


def test_a_classifier_without_a_tokenizer_config_may_fill_its_positions(source: Path) -> None:
    (source / "tokenizer_config.json").unlink()
    assert read_source(source, classifier=True).settings.max_tokens == POSITIONS


def test_cutting_the_beginning_of_texts_is_refused(source: Path) -> None:
    (source / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    with pytest.raises(EncoderUnsupported, match="truncation_side"):
        read_source(source, classifier=True)


@pytest.mark.parametrize("classifier", [True, False])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", None, "lacks config.json"),
        ("tokenizer.json", None, "lacks tokenizer.json; run AutoTokenizer.*save_pretrained"),
        ("model.safetensors", None, "lacks model.safetensors; .*safe_serialization=True"),
        ("config.json", "{", "config.json is missing or not JSON"),
        ("tokenizer.json", "{", "tokenizer.json is missing or not JSON"),
        ("model.safetensors", "no tensors", "model.safetensors is not a sound safetensors file"),
        ("config.json", '{"model_type": "gpt2"}', "model_type is 'gpt2'"),
        ("config.json", "[]", "config.json is not a JSON object"),
        ("config.json", "[" * 100_000, "config.json is missing or not JSON"),
        ("config.json", r'{"id2label": {"0": "\ud83d"}}', "config.json is missing or not JSON"),
        ("tokenizer.json", "[]", "tokenizer.json is not a JSON object"),
    ],
)
def test_a_folder_that_cannot_serve_is_refused_with_the_remedy(
    source: Path, classifier: bool, name: str, content: str | None, reason: str
) -> None:
    if content is None:
        (source / name).unlink()
    else:
        (source / name).write_text(content)
    with pytest.raises(EncoderUnsupported, match=reason):
        read_source(source, classifier=classifier)


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        ("pytorch_model.bin", "pytorch_model.bin.*never unpickles.*safe_serialization=True"),
        ("model.safetensors.index.json", 'in shards.*max_shard_size="100GB"'),
    ],
)
def test_other_weights_are_refused_with_the_remedy(source: Path, instead: str, reason: str) -> None:
    (source / "model.safetensors").rename(source / instead)
    with pytest.raises(EncoderUnsupported, match=reason):
        read_source(source, classifier=True)


@pytest.mark.parametrize(
    ("modules", "reason"),
    [(("Transformer",), "Pooling"), (("Transformer", "Pooling", "Dense"), "Dense")],
)
def test_other_modules_are_refused(source: Path, modules: tuple[str, ...], reason: str) -> None:
    (source / "modules.json").write_text(_modules(*modules))
    with pytest.raises(EncoderUnsupported, match=reason):
        read_source(source, classifier=False)


@pytest.mark.parametrize("modes", [[], ["max_tokens"], ["mean_tokens", "cls_token"]])
def test_another_pooling_is_refused(source: Path, modes: list[str]) -> None:
    (source / "modules.json").write_text(_modules("Transformer", "Pooling"))
    (source / "Pooling").mkdir()
    pooling = {f"pooling_mode_{mode}": True for mode in modes}
    (source / "Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(EncoderUnsupported, match=r"Pooling/config\.json"):
        read_source(source, classifier=False)


@pytest.mark.parametrize("modules", ["{}", "[3]", '[{"type": "m.Transformer"}]'])
def test_modules_that_are_none_are_refused(source: Path, modules: str) -> None:
    (source / "modules.json").write_text(modules)
    with pytest.raises(EncoderUnsupported, match=r"modules\.json"):
        read_source(source, classifier=False)


def test_modules_outside_the_folder_are_refused(source: Path, checkpoint: Path) -> None:
    modules = [{"path": str(checkpoint), "type": "m.Transformer"}]
    modules.append({"path": "../Pooling", "type": "m.Pooling"})
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderUnsupported, match=r"modules\.json leads out of its folder"):
        read_source(source, classifier=False)


@pytest.mark.parametrize("place", ["a\0b", "x" * 300])
def test_modules_in_folders_that_cannot_be_are_refused(source: Path, place: str) -> None:
    modules = [{"path": "", "type": "m.Transformer"}, {"path": place, "type": "m.Pooling"}]
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderUnsupported, match=r"modules\.json leads out of its folder"):
        read_source(source, classifier=False)


def test_more_layers_than_the_weights_have_are_refused_at_once(source: Path) -> None:
    config = json.loads((source / "config.json").read_text()) | {"num_hidden_layers": 10**15}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderUnsupported, match=r"lacks the tensor encoder\.layer\.999999"):
        read_source(source, classifier=True)
