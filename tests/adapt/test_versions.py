"""Versions on real disks: whole or absent, never changed, and read with distrust."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from honed_adapt.head import Features, Head, HeadError, OpenSet
from honed_adapt.storage.versions import (
    Manifest,
    VersionDamaged,
    VersionError,
    VersionForeign,
    Written,
    clear_unrecorded,
    folder,
    load_version,
    sweep,
    write,
)

HIDDEN = 8
HEAD = Head(
    ("refund", "größe", "a\u2028b"),
    np.random.default_rng(0).standard_normal((3, HIDDEN)).astype(np.float32),
    np.array([1, -2, 0.5], np.float32),
    0.7,
)
MANIFEST = Manifest(
    model="support",
    version=3,
    parent=2,
    encoder_digest="ab" * 32,
    log_position=41,
    label_set_version=2,
    decision_id="d-1",
    source="checkpoint",
    seed=5,
    hyper_parameters={"shrinkage": 0.1, "method": "lda"},
    metrics={"anchor_accuracy": 0.93},
)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return write(tmp_path, MANIFEST, HEAD)


def load(root: Path, digest: str | None = None) -> tuple[Manifest, Head]:
    return load_version(root, "support", 3, digest)


def same(left: Head, right: Head) -> bool:
    return (
        left.labels == right.labels
        and left.settings() == right.settings()
        and left.arrays().keys() == right.arrays().keys()
        and all(
            of.tobytes() == right.arrays()[name].tobytes() for name, of in left.arrays().items()
        )
    )


def replace_file(path: Path, name: str, data: bytes) -> None:
    """Exchange a file and make the manifest vouch for it, as a forger would."""
    (path / name).write_bytes(data)
    edit_manifest(path, lambda values: values["files"].update({name: _sha256(data)}))


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = path / "manifest.json"
    values = json.loads(file.read_bytes())
    edit(values)
    file.write_text(json.dumps(values))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Writing and reading back -------------------------------------------------------------------------


def test_a_version_is_read_as_it_was_written(tmp_path: Path, written: Written) -> None:
    manifest, head = load(tmp_path, written.manifest_sha256)
    assert replace(manifest, files={}, head={}) == MANIFEST
    assert manifest.files.keys() == {"head.safetensors", "labels.json"}
    assert same(head, HEAD)
    assert written.path == tmp_path / "support" / "versions" / "3"
    assert _sha256((written.path / "manifest.json").read_bytes()) == written.manifest_sha256


def test_features_and_limits_come_back(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).standard_normal((3, HIDDEN + 5)).astype(np.float32)
    features = Features(5, 0.7, 3)
    part = OpenSet(0.03, 1.0, weight[:, :HIDDEN], weight[:, 0], weight[:, 1])
    head = replace(
        HEAD, weight=weight, features=features, threshold=-1.25, conformal=0.05, open_set=part
    )
    write(tmp_path, MANIFEST, head)
    manifest, again = load(tmp_path)
    assert same(again, head)
    assert again.features == features
    assert manifest.head["features"] == {"count": 5, "width": 0.7, "seed": 3}


def test_a_version_of_the_first_format_is_read(tmp_path: Path, written: Written) -> None:
    def older(values: dict[str, Any]) -> None:
        values["format"] = 1
        del values["head"]

    edit_manifest(written.path, older)
    assert same(load(tmp_path)[1], HEAD)


def test_a_version_of_the_second_format_has_no_open_set(tmp_path: Path, written: Written) -> None:
    def older(values: dict[str, Any]) -> None:
        values["format"] = 2
        del values["head"]["open_set"]

    edit_manifest(written.path, older)
    assert same(load(tmp_path)[1], HEAD)


@pytest.mark.parametrize(
    "settings",
    [
        {"features": {"count": 8, "width": 0.7, "seed": 3}},  # nothing is left for the vector
        {"features": {"count": 5}},
        {"features": [5, 0.7, 3]},
        {"features": {"count": -1, "width": 0.7, "seed": 3}},
        {"features": {"count": "5", "width": 0.7, "seed": 3}},
        {"features": 5},
        {"open_set": {"energy": 0.03, "square": 1.0}},  # which has arrays
        {"threshold": "low"},
        {"threshold": float("inf")},
        {"conformal": 2},
        {"surprise": 1},
        {"labels": ["a", "b", "c"]},
    ],
)
def test_settings_that_are_no_heads_are_refused(
    tmp_path: Path, written: Written, settings: dict[str, Any]
) -> None:
    edit_manifest(written.path, lambda values: values.update(head=settings))
    with pytest.raises(VersionDamaged):
        load(tmp_path)


def test_a_model_that_has_learned_nothing_has_versions_too(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST, Head.empty(HIDDEN))
    _, head = load(tmp_path)
    assert head.labels == ()
    assert head.weight.shape == (0, HIDDEN)


def test_a_head_in_another_memory_order_is_stored_as_the_same_numbers(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST, replace(HEAD, weight=np.asfortranarray(HEAD.weight)))
    assert same(load(tmp_path)[1], HEAD)


def test_a_version_is_never_overwritten(tmp_path: Path, written: Written) -> None:
    with pytest.raises(FileExistsError, match="never overwritten"):
        write(tmp_path, MANIFEST, Head.empty(HIDDEN))
    assert same(load(tmp_path, written.manifest_sha256)[1], HEAD)


def test_of_two_writers_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    def attempt(temperature: float) -> bool:
        try:
            write(tmp_path, MANIFEST, replace(HEAD, temperature=temperature))
        except OSError:  # FileExistsError, or the rename onto a folder that is not empty
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, np.linspace(0.5, 2, 16))) == 1
    load(tmp_path)
    assert os.listdir(tmp_path / "support" / "versions") == ["3"]


def test_many_readers_see_the_same_version(tmp_path: Path, written: Written) -> None:
    with ThreadPoolExecutor(8) as pool:
        heads = pool.map(lambda _: load(tmp_path, written.manifest_sha256)[1], range(64))
        assert all(same(head, HEAD) for head in heads)


@pytest.mark.parametrize(
    "head",
    [
        replace(HEAD, weight=HEAD.weight.astype(np.float64)),
        replace(HEAD, bias=np.array([0, np.nan, 0], np.float32)),
        replace(HEAD, labels=("a", "b", "a")),
        replace(HEAD, temperature=0.0),
    ],
)
def test_a_head_that_may_not_serve_is_not_written(tmp_path: Path, head: Head) -> None:
    with pytest.raises(HeadError):
        write(tmp_path, MANIFEST, head)
    assert list(tmp_path.rglob("*.*")) == []


NO_NAMES = ["..", ".", "", "a/b", "../a", "/nowhere/a", "A", "a\0", "x" * 65, ".hidden", "a\n"]


@pytest.mark.parametrize("model", NO_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, model: str) -> None:
    root = tmp_path / "models"
    with pytest.raises(VersionForeign, match="no name of a model"):
        write(root, replace(MANIFEST, model=model), HEAD)
    with pytest.raises(VersionForeign, match="no name of a model"):
        load_version(root, model, 3)
    with pytest.raises(VersionForeign, match="no name of a model"):
        clear_unrecorded(root, model, 3)
    assert list(tmp_path.iterdir()) == []


def test_versions_count_from_one(tmp_path: Path) -> None:
    with pytest.raises(VersionForeign, match="count from 1"):
        load_version(tmp_path, "support", 0)


# Damage -------------------------------------------------------------------------------------------

FILES = pytest.mark.parametrize("name", ["head.safetensors", "labels.json", "manifest.json"])


@FILES
def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path, written: Written, name: str) -> None:
    file = written.path / name
    sound = file.read_bytes()
    for bit in random.Random(name).sample(range(len(sound) * 8), 150):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(VersionDamaged, match=name):
            load(tmp_path, written.manifest_sha256)
        if name != "manifest.json":  # which alone cannot vouch for itself
            with pytest.raises(VersionDamaged, match=name):
                load(tmp_path)


@FILES
def test_a_shortened_or_lengthened_file_is_noticed(
    tmp_path: Path, written: Written, name: str
) -> None:
    file = written.path / name
    sound = file.read_bytes()
    for data in [sound[:-1], sound[: len(sound) // 2], b"", sound + b"\n"]:
        file.write_bytes(data)
        with pytest.raises(VersionDamaged, match=name):
            load(tmp_path, written.manifest_sha256)


@FILES
def test_a_missing_file_is_named(tmp_path: Path, written: Written, name: str) -> None:
    (written.path / name).unlink()
    with pytest.raises(VersionDamaged, match=name):
        load(tmp_path)


@FILES
def test_only_regular_files_are_opened(tmp_path: Path, written: Written, name: str) -> None:
    (written.path / name).unlink()
    os.mkfifo(written.path / name)  # opening one would wait for a writer for ever
    with pytest.raises(VersionDamaged, match=name):
        load(tmp_path)


def test_a_missing_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(VersionDamaged, match="support/versions/3"):
        load(tmp_path)


TENSORS = {"weight": HEAD.weight, "bias": HEAD.bias, "temperature": np.array([0.7])}


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": HEAD.weight[:2]},  # fewer rows than labels
        {"weight": HEAD.weight[0]},  # one dimension
        {"weight": np.float32(1)},  # none
        {"weight": HEAD.weight.astype(np.float64)},
        {"weight": HEAD.weight * np.float32(np.inf)},
        {"bias": HEAD.bias.reshape(1, 3)},
        {"bias": np.array([0, np.nan, 0], np.float32)},
        {"temperature": np.array([0.0])},
        {"temperature": np.array([np.nan])},
        {"temperature": np.array([])},
        {"temperature": np.array([0.7, 0.7])},
        {"temperature": np.array([1])},
        {"surprise": HEAD.bias},
        {"bias": None},
    ],
)
def test_tensors_that_are_no_head_are_refused(
    tmp_path: Path, written: Written, changes: dict[str, Any]
) -> None:
    tensors = {n: np.asarray(t) for n, t in (TENSORS | changes).items() if t is not None}
    replace_file(written.path, "head.safetensors", save(tensors))
    with pytest.raises(VersionDamaged, match=r"head\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "a"],
        ["a", "b"],
        ["a", "b", ""],
        ["a", "b", 3],
        "abc",  # three labels of one letter, to a careless reader
        {"a": 0, "b": 1, "c": 2},
        None,
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, written: Written, labels: object
) -> None:
    replace_file(written.path, "labels.json", json.dumps(labels).encode())
    with pytest.raises(VersionDamaged, match=r"labels\.json|head\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"[" * 100_000])
@FILES
def test_files_that_do_not_decode_are_refused(
    tmp_path: Path, written: Written, name: str, data: bytes
) -> None:
    if name == "manifest.json":
        (written.path / name).write_bytes(data)
    else:
        replace_file(written.path, name, data)
    with pytest.raises(VersionDamaged):
        load(tmp_path)


# What does not belong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},  # which has one field less
        {"format": 4},
        {"head": []},
        {"format": "1"},
        {"model": "other"},
        {"model": "../support"},
        {"version": 4},
        {"surprise": 1},
        {"files": {}},
        {"files": []},
        {"files": None},
        {"files": {"../head.safetensors": "00", "labels.json": "00"}},
        {"files": {"head.safetensors": "00", "labels.json": "00", "extra": "00"}},
        {"metrics": None},
        {"hyper_parameters": []},
        {"log_position": "41"},
        {"parent": None},
        {"encoder_digest": 7},
        {"seed": True},
    ],
)
def test_another_manifest_is_refused(
    tmp_path: Path, written: Written, changes: dict[str, Any]
) -> None:
    edit_manifest(written.path, lambda values: values.update(changes))
    with pytest.raises(VersionError, match=r"manifest\.json"):
        load(tmp_path)
    with pytest.raises(VersionDamaged, match="on record"):
        load(tmp_path, written.manifest_sha256)


def test_a_manifest_without_a_field_is_refused(tmp_path: Path, written: Written) -> None:
    edit_manifest(written.path, lambda values: values.pop("seed"))
    with pytest.raises(VersionForeign, match=r"manifest\.json"):
        load(tmp_path)


def test_another_versions_files_are_refused(tmp_path: Path, written: Written) -> None:
    other = write(tmp_path, replace(MANIFEST, version=4), replace(HEAD, temperature=2.0))
    shutil.copy(other.path / "head.safetensors", written.path / "head.safetensors")
    with pytest.raises(VersionDamaged, match=r"head\.safetensors"):
        load(tmp_path)
    shutil.copytree(other.path, written.path, dirs_exist_ok=True)
    with pytest.raises(VersionForeign, match="version 4"):
        load(tmp_path)


def test_a_file_that_does_not_belong_is_named(tmp_path: Path, written: Written) -> None:
    (written.path / "weights.pickle").write_bytes(b"")
    with pytest.raises(VersionForeign, match=r"weights\.pickle"):
        load(tmp_path)


@pytest.mark.parametrize(
    "inner", ["support/versions/3/labels.json", "support/versions/3", "support/versions", "support"]
)
def test_a_symbolic_link_on_the_way_is_refused(
    tmp_path: Path, written: Written, inner: str
) -> None:
    link, target = tmp_path / inner, tmp_path / "elsewhere"
    link.rename(target)
    link.symlink_to(target)
    with pytest.raises(VersionForeign, match="symbolic link"):
        load(tmp_path, written.manifest_sha256)


def test_the_data_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    write(tmp_path / "models", MANIFEST, HEAD)
    assert same(load(tmp_path / "models")[1], HEAD)


# Interrupted writers ------------------------------------------------------------------------------

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from honed_adapt.head import Head
from honed_adapt.storage.versions import Manifest, write

labels = tuple(f"label {n}" for n in range(400))
head = Head(labels, np.ones((400, 384), np.float32), np.zeros(400, np.float32))
manifest = Manifest("support", 1, 0, "ab", 1, 1, "d", "checkpoint")
for version in range(1, 100_000):
    print(write(Path(sys.argv[1]), replace(manifest, version=version), head).path.name, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_versions_or_none(tmp_path: Path) -> None:
    rng = random.Random(0)
    leftovers = 0
    for run in range(8):
        root = tmp_path / str(run)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline()]
            with pytest.raises(subprocess.TimeoutExpired):  # it writes until it is killed
                writer.wait(rng.uniform(0, 0.03))
            writer.kill()
            acknowledged += writer.stdout.readlines()
        leftovers += len(list(root.glob("support/versions/.*")))
        sweep(root)
        shown = {int(name) for name in os.listdir(root / "support" / "versions")}
        assert {int(line) for line in acknowledged if line.endswith("\n")} <= shown
        for version in shown:
            _, head = load_version(root, "support", version)
            assert head.num_labels == 400
    assert leftovers, "no kill struck inside a write: the test proves nothing"


def test_what_is_left_over_is_swept_and_nothing_else(tmp_path: Path, written: Written) -> None:
    aside = written.path.parent / ".writing-x"
    aside.mkdir()
    (aside / "labels.json").touch()
    sweep(tmp_path)
    assert os.listdir(written.path.parent) == ["3"]
    assert same(load(tmp_path)[1], HEAD)


def test_a_version_without_a_record_can_be_written_anew(tmp_path: Path, written: Written) -> None:
    clear_unrecorded(tmp_path, "support", 3)
    assert not folder(tmp_path, "support", 3).exists()
    clear_unrecorded(tmp_path, "support", 3)
    assert write(tmp_path, MANIFEST, HEAD) == written
