"""Vectors that a round hands to the adapt process: a file by encoder, taken over and removed.

It stands between a trainer, which has encoded all labels with a new encoder, and `vectors.py`,
whose one writer is the adapt process. Taken over at once, so that deletion finds them where it
looks; what was deleted before that is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from honed_adapt.storage.vectors import VectorStore

_PREFIX, _SUFFIX = "vectors-", ".safetensors"


def leave(
    home: Path, digest: str, vectors: Mapping[str, Mapping[int, NDArray[np.float32]]]
) -> None:
    """Write the file of an encoder.

    Args:
        home: the data folder.
        digest: the encoder.
        vectors: by model and log position, float32 (hidden,).
    """
    tensors: dict[str, NDArray[np.generic]] = {}
    for model, found in vectors.items():
        if found:
            tensors[f"{model}.positions"] = np.array(list(found), np.int64)
            tensors[f"{model}.vectors"] = np.stack(list(found.values()))
    path = _path(home, digest)
    aside = path.with_suffix(".aside")
    aside.write_bytes(save(tensors))
    os.replace(aside, path)


def adopt(
    home: Path, store: VectorStore, kept: Callable[[str], Collection[int]], digest: str
) -> None:
    """Take the file of an encoder over, if it is there, and remove it.

    Args:
        home: the data folder.
        store: where its vectors go.
        kept: the log positions of a model whose vectors may be kept.
        digest: the encoder.
    """
    path = _path(home, digest)
    try:
        tensors = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        tensors = {}
    for name, positions in tensors.items():
        model, _, part = name.rpartition(".")
        if part == "positions":
            allowed = set(kept(model))
            found = zip(positions.tolist(), tensors[f"{model}.vectors"], strict=True)
            store.put(model, digest, {at: vector for at, vector in found if at in allowed})
    path.unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """Remove what trainers left that nobody took over."""
    for path in (home / "adapt").glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def _path(home: Path, digest: str) -> Path:
    return home / "adapt" / f"{_PREFIX}{digest}{_SUFFIX}"
