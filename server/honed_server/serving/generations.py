"""What the engine serves: an immutable table from model name to generation.

A swap builds a new table and assigns one reference; a worker reads that reference once per batch.
This is the whole of the swap guarantee: within a batch a model has exactly one version
(read-copy-update, as in TensorFlow Serving's serving map).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.store import Precision
from honed_adapt.head import Head
from honed_adapt.scoring import weights_of
from honed_kernels.head import HeadOutput, HeadWeights
from honed_server.encoders.texts import encode_texts
from honed_server.serving.cost import CostModel
from honed_server.serving.tokenizer import Tokenizer

# Digest and precision of an encoder.
EncoderKey = tuple[str, Precision]
# `Encoder.answer`, or what stands in for it where the vectors are known.
Scorer = Callable[..., tuple[HeadOutput, NDArray[np.float32]]]


class Encoder(Protocol):
    """Turns token ids into vectors and answers; safe to call from several threads."""

    @property
    def digest(self) -> str:
        """SHA-256 of weights, tokenizer and settings, hexadecimal."""
        ...

    @property
    def precision(self) -> Precision:
        """What the layers' products are computed in."""
        ...

    @property
    def hidden(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, rows: list[NDArray[np.int64]], *, lone: bool = False) -> NDArray[np.float32]:
        """Vectors of shape (rows, hidden); `lone` says that the other cores are idle."""
        ...

    def answer(
        self,
        rows: list[NDArray[np.int64]],
        heads: Sequence[HeadWeights],
        head_id: NDArray[np.int64],
        *,
        top_k: Sequence[int],
        logits: bool = False,
        lone: bool = False,
    ) -> tuple[HeadOutput, NDArray[np.float32]]:
        """What `honed_kernels.head.grouped_head` makes of the vectors, and the vectors."""
        ...

    def widen(self, threads: int) -> None:
        """Lets lone batches use so many cores; 1 ends that. Workers may be running."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """An encoder, the tokenizer that belongs to it, and what its runs cost."""

    encoder: Encoder
    tokenizer: Tokenizer
    cost: CostModel

    @property
    def key(self) -> EncoderKey:
        """What decides its vectors to the bit: rows of one key may share a batch."""
        return self.encoder.digest, self.encoder.precision

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, (texts, hidden), computed at once; call it in a thread."""
        return encode_texts(self.encoder, self.tokenizer, texts, self.cost.budget_tokens)


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that answers for one model; always replaced whole."""

    model: str
    version: int
    revision: int
    label_set_version: int
    head: Head
    weights: HeadWeights
    loaded: LoadedEncoder
    canary: "tuple[int, Generation] | None" = None  # see canary.py

    @staticmethod
    def of(
        model: str,
        version: int,
        revision: int,
        label_set_version: int,
        head: Head,
        loaded: LoadedEncoder,
    ) -> "Generation":
        """Bundles a validated head with its encoder."""
        weights = weights_of(head)
        return Generation(model, version, revision, label_set_version, head, weights, loaded)


Table = Mapping[str, Generation]


class GenerationTable:
    """Holds the current table. Written by the event loop only, read by anyone without a lock."""

    def __init__(self) -> None:
        self._current: Table = MappingProxyType({})

    @property
    def current(self) -> Table:
        """The table now; keep the reference for as long as one answer needs it."""
        return self._current

    def put(self, generation: Generation) -> None:
        """Publishes a generation: one assignment of a new table."""
        self._current = MappingProxyType({**self._current, generation.model: generation})

    def remove(self, model: str) -> None:
        """Takes a model out of service."""
        rest = {name: g for name, g in self._current.items() if name != model}
        self._current = MappingProxyType(rest)
