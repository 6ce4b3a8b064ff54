"""Immutable versions on disk: written aside and verified, then renamed; read with distrust.

`models/<name>/versions/<n>/` holds head.safetensors, labels.json and manifest.json. The manifest
has the SHA-256 of the other two, and the registry has the manifest's: a file that changed, is
missing or does not belong is refused by name.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from honed_adapt.head import Head, HeadError

FORMAT = 3
_WITHOUT_HEAD = 1  # the format before the manifest said more of the head; read as well
_WITHOUT_OPEN_SET = 2  # that before heads could have an open set; read as well
_HEAD, _LABELS, _MANIFEST = "head.safetensors", "labels.json", "manifest.json"
_ASIDE = ".writing-"
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class VersionError(Exception):
    """A stored version must not be served; the message names the file and what is wrong with it."""


class VersionDamaged(VersionError):
    """A file is missing, changed or does not decode: restore the folder from a backup."""


class VersionForeign(VersionError):
    """The folder holds another model, version or format, or files that do not belong to one."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a version came from, and what its files must be.

    Attributes:
        parent: version it came from, 0 for the first.
        log_position: position of the feedback log up to which it has learned.
        seed, hyper_parameters, metrics: how it was made and judged.
        source: "create", "import", "checkpoint", "deletion" or "candidate".
        head: what belongs to the head and is no tensor, see `Head.settings`; filled in by `write`.
        files: SHA-256 of each file, hexadecimal; filled in by `write`.
    """

    model: str
    version: int
    parent: int
    encoder_digest: str
    log_position: int
    label_set_version: int
    decision_id: str
    source: str
    seed: int = 0
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


_FIELDS = {
    **dict.fromkeys(("model", "encoder_digest", "decision_id", "source"), str),
    **dict.fromkeys(("version", "parent", "log_position", "label_set_version"), int),
    **dict.fromkeys(("seed", "format"), int),
    **dict.fromkeys(("hyper_parameters", "metrics", "head", "files"), dict),
}


@dataclass(frozen=True, slots=True)
class Written:
    """A version that is on disk for good."""

    path: Path
    manifest_sha256: str


def folder(root: Path, model: str, version: int) -> Path:
    """Where a version lies below `root`, the data folder's `models`.

    Raises:
        VersionForeign: The name or number is none; no path leads out of `root`.
    """
    if not _MODEL_NAME.fullmatch(model):
        raise VersionForeign(f"{model!r} is no name of a model")
    if version < 1:
        raise VersionForeign(f"{version} is no version; they count from 1")
    return root / model / "versions" / str(version)


def write(root: Path, manifest: Manifest, head: Head) -> Written:
    """Puts a version on disk; when this returns it survives power loss.

    Raises:
        FileExistsError: There is such a version already.
        OSError: The disk is full or broken; nothing is left behind.
        HeadError: The head may not be served.
        VersionForeign: The model's name or the number cannot be a folder's.
    """
    final = folder(root, manifest.model, manifest.version)
    head.validate(head.hidden)
    if final.exists():
        raise FileExistsError(f"{final} exists; versions are never overwritten")
    _make_folder(final.parent)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=final.parent))
    try:
        digest = _write_files(aside, manifest, head)
        _read(aside, manifest.model, manifest.version, digest)
        _sync(aside)
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(final.parent)
    return Written(final, digest)


def load_version(
    root: Path, model: str, version: int, manifest_sha256: str | None = None
) -> tuple[Manifest, Head]:
    """Reads a version and checks all of it.

    Args:
        root: The data folder's `models`.
        model: Name of the model.
        version: Its version.
        manifest_sha256: What the registry says of the manifest; None skips that comparison.

    Raises:
        VersionDamaged: See there.
        VersionForeign: See there.
    """
    path = folder(root, model, version)
    for part in (path, path.parent, path.parent.parent):
        if part.is_symlink():
            raise VersionForeign(f"{part} is a symbolic link")
    return _read(path, model, version, manifest_sha256)


def remove_model(root: Path, model: str) -> None:
    """Removes all versions of a model that is no longer on record; its heads name its labels."""
    shutil.rmtree(folder(root, model, 1).parents[1], ignore_errors=True)


def remove(root: Path, model: str, version: int) -> None:
    """Removes the files of a version that must not be served again; the rest is its record."""
    shutil.rmtree(folder(root, model, version), ignore_errors=True)


def clear_unrecorded(root: Path, model: str, version: int) -> None:
    """Removes a folder that no record names: a crash came between its rename and its record."""
    shutil.rmtree(folder(root, model, version), ignore_errors=True)


def sweep(root: Path) -> None:
    """Removes what killed writers left; call it while nobody writes."""
    for left in root.glob(f"*/versions/{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _write_files(aside: Path, manifest: Manifest, head: Head) -> str:
    tensors: dict[str, NDArray[Any]] = {
        **{name: np.ascontiguousarray(of, np.float32) for name, of in head.arrays().items()},
        "temperature": np.array([head.temperature], np.float64),
    }
    contents = {_HEAD: save(tensors), _LABELS: json.dumps(list(head.labels)).encode()}
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    settings = head.settings()
    del settings["temperature"]  # a tensor since format 1
    described = asdict(replace(manifest, head=settings, files=files, format=FORMAT))
    contents[_MANIFEST] = json.dumps(described, indent=1, sort_keys=True).encode()
    for name, data in contents.items():
        with (aside / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return hashlib.sha256(contents[_MANIFEST]).hexdigest()


def _read(
    path: Path, model: str, version: int, manifest_sha256: str | None
) -> tuple[Manifest, Head]:
    raw = _contents(path, _MANIFEST)
    if manifest_sha256 not in (None, hashlib.sha256(raw).hexdigest()):
        raise VersionDamaged(f"{path / _MANIFEST} is not the one on record")
    manifest = _manifest(path, raw)
    if (manifest.model, manifest.version) != (model, version):
        raise VersionForeign(
            f"{path / _MANIFEST} is of {manifest.model!r} version {manifest.version}"
        )
    present = {entry.name for entry in path.iterdir()}
    if extra := present - {_HEAD, _LABELS, _MANIFEST}:
        raise VersionForeign(f"{path / min(extra)} does not belong to a version")
    contents = {name: _checked(path, name, manifest.files) for name in (_HEAD, _LABELS)}
    return manifest, _head(path, contents, manifest.head)


def _manifest(path: Path, raw: bytes) -> Manifest:
    try:
        values = json.loads(raw)
        if values["format"] == _WITHOUT_HEAD and "head" not in values:
            values["head"] = {}
        elif values["format"] not in (_WITHOUT_OPEN_SET, FORMAT):
            raise VersionForeign(
                f"{path / _MANIFEST} has format {values['format']!r}, this server reads {FORMAT}"
            )
        if {name: type(value) for name, value in values.items()} != _FIELDS:
            raise VersionForeign(f"{path / _MANIFEST} has other fields than format {FORMAT}")
        if values["files"].keys() != {_HEAD, _LABELS}:
            raise VersionForeign(f"{path / _MANIFEST} names other files than format {FORMAT}")
        return Manifest(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise VersionDamaged(f"{path / _MANIFEST} is not a manifest: {error!r}") from error


def _contents(path: Path, name: str) -> bytes:
    file = path / name
    if file.is_symlink():
        raise VersionForeign(f"{file} is a symbolic link; versions hold plain files only")
    if file.exists() and not file.is_file():
        raise VersionDamaged(f"{file} is not a plain file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise VersionDamaged(f"{file} cannot be read: {error.strerror}") from error


def _checked(path: Path, name: str, files: Mapping[str, str]) -> bytes:
    data = _contents(path, name)
    if hashlib.sha256(data).hexdigest() != files.get(name):
        raise VersionDamaged(f"{path / name} is damaged: its SHA-256 is not the manifest's")
    return data


def _head(path: Path, contents: Mapping[str, bytes], settings: Mapping[str, Any]) -> Head:
    labels = _labels(path, contents[_LABELS])
    try:
        tensors = load(contents[_HEAD])
        temperature = tensors.pop("temperature")
        if temperature.shape != (1,) or temperature.dtype != np.float64:
            raise ValueError("it has not one temperature")
        head = Head.of(labels, tensors, {**settings, "temperature": float(temperature[0])})
        head.validate(head.hidden)
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError) as error:
        problem = str(error) if isinstance(error, HeadError) else repr(error)
        raise VersionDamaged(f"{path / _HEAD} holds no head that can serve: {problem}") from error
    return head


def _labels(path: Path, raw: bytes) -> tuple[str, ...]:
    try:
        labels = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VersionDamaged(f"{path / _LABELS} is not JSON: {error!r}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise VersionDamaged(f"{path / _LABELS} is not a list of names")
    return tuple(labels)


def _make_folder(path: Path) -> None:
    """Makes a folder and those above it, each as durable as what will lie in it."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
