"""Probes: a few texts whose vectors are known, so that an engine can prove that it computes them.

They stand between import, which computes them in NumPy (`forward.py`), and every session that is
opened over the encoder later, whatever runtime, processor or version it has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from tokenizers import Tokenizer

from honed_adapt.encoders.checkpoint import Architecture, Settings
from honed_adapt.encoders.forward import forward

# Of several lengths and scripts, and in all so short that a start does not wait for them.
_TEXTS = (
    "",
    "Hi",
    "Where is my card?",
    "¿Dónde está mi café? 你好",
    "I was charged $12.50 twice :(",
    "Please cancel the transfer that I made to my landlord yesterday, it was the wrong amount.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Texts and their vectors.

    Attributes:
        rows: token ids of each text, int64 (tokens,).
        vectors: float32 (rows, hidden).
    """

    rows: tuple[NDArray[np.int64], ...]
    vectors: NDArray[np.float32]

    @classmethod
    def of(
        cls, architecture: Architecture, settings: Settings, tokenizer: Path, weights: Path
    ) -> "Probes":
        """Compute them for an encoder from its files."""
        model = Tokenizer.from_file(str(tokenizer))
        model.enable_truncation(settings.max_tokens)
        rows = tuple(np.array(model.encode(text).ids, np.int64) for text in _TEXTS)
        vectors = forward(architecture, settings, weights, rows)
        return cls(rows, vectors.astype(np.float32))

    @classmethod
    def read(cls, path: Path) -> "Probes":
        """Read what `write` wrote."""
        tensors = load(path.read_bytes())
        rows = np.split(tensors["input_ids"], np.cumsum(tensors["lengths"])[:-1])
        return cls(tuple(rows), tensors["vectors"])

    def write(self, path: Path) -> None:
        """Write them as safetensors: input_ids (T,) of all texts, lengths (R,), vectors."""
        tensors = {
            "input_ids": np.concatenate(self.rows),
            "lengths": np.array([row.size for row in self.rows]),
            "vectors": self.vectors,
        }
        path.write_bytes(save(tensors))

    def deviation(self, vectors: NDArray[np.float32]) -> float:
        """How far vectors of `rows` are from the known ones, at worst, relative to their length."""
        distances = np.linalg.norm(vectors - self.vectors, axis=1)
        lengths = np.linalg.norm(self.vectors, axis=1)
        return cast(float, np.max(distances / np.maximum(lengths, np.finfo(np.float32).tiny)))
