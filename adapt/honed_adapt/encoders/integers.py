"""The integer form of a stored encoder on disk: written once, verified whenever it is opened.

It lies in the encoder's folder beside the float32 form, whose embeddings, norms and biases it
reads. Its manifest is written last: a form without one is written anew.
"""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from honed_adapt.encoders.probes import Probes
from honed_adapt.encoders.store import (
    INTEGER_GRAPH,
    INTEGERS,
    EncoderDamaged,
    EncoderFiles,
    open_encoder,
)
from honed_adapt.storage.durable import fsync, sha256_of

_FORMAT = 1
_PROBES, _MANIFEST = "int8-probes.safetensors", "int8.json"
_FILES = (INTEGERS, INTEGER_GRAPH, _PROBES)


def write_integers(home: Path, digest: str) -> None:
    """Quantise a stored encoder; harmless to repeat, repairs a damaged form.

    Raises:
        EncoderDamaged: the float32 form is not what was imported.
        NotQuantisable: it has no integer form.
        OSError: the disk is full or fails; what was there is as it was.
    """
    try:
        open_integers(home, digest)
        return
    except EncoderDamaged:
        pass  # absent or damaged: what follows writes it anew
    from honed_adapt.encoders.quantise import quantise, run_alone  # onnx: 13 MB for this only

    files = open_encoder(home, digest)
    (files.folder / _MANIFEST).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=files.folder.parent) as aside:
        staged = Path(aside)
        quantise(files, staged)
        for name in (INTEGERS, INTEGER_GRAPH):
            os.replace(staged / name, files.folder / name)
        graph = (files.folder / INTEGER_GRAPH).read_bytes()
        known = list(run_alone(graph, files, ["vectors"], files.probes.rows))
        vectors = np.concatenate([vector for (vector,) in known])
        Probes(files.probes.rows, vectors).write(staged / _PROBES)
        os.replace(staged / _PROBES, files.folder / _PROBES)
        hashes = {name: sha256_of(files.folder / name) for name in _FILES}
        manifest = {"format": _FORMAT, "encoder": digest, "files": hashes}
        (staged / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        for name in (*_FILES, "."):
            fsync(files.folder / name)
        os.replace(staged / _MANIFEST, files.folder / _MANIFEST)
        fsync(files.folder)


def open_integers(home: Path, digest: str) -> EncoderFiles:
    """Verify both forms of a stored encoder, all bytes of them; returns the integer one.

    Raises:
        EncoderDamaged: naming the file that is missing or changed.
    """
    files = open_encoder(home, digest)
    path = files.folder / _MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        recorded = {name: str(manifest["files"][name]) for name in _FILES}
        known = manifest["format"] == _FORMAT and manifest["encoder"] == digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderDamaged(f"{path} is missing or damaged; it is written anew") from error
    for name, wanted in recorded.items():
        file = files.folder / name
        if not known or file.is_symlink() or not file.is_file() or sha256_of(file) != wanted:
            raise EncoderDamaged(f"{file} is not what {path.name} records; it is written anew")
    return replace(files, precision="int8", probes=Probes.read(files.folder / _PROBES))
