"""The encoder once more, in plain NumPy and float64: what the packed graph is checked against.

It stands at import, where no torch is there to compare with. It shares only the descriptions with
`graph.py`: no packing, no masks, no fused operators. Slow, and clear.
"""

from collections.abc import Sequence
from math import erf, pi, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.checkpoint import Activation, Architecture, Settings
from honed_adapt.encoders.families import (
    EMBEDDINGS_NORM,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    LayerNames,
)
from honed_adapt.encoders.tensors import read_spans

Floats = NDArray[np.float64]


def forward(
    architecture: Architecture,
    settings: Settings,
    weights: Path,
    rows: Sequence[NDArray[np.int64]],
) -> Floats:
    """The vectors of some texts.

    Args:
        architecture: what the encoder computes.
        settings: how token vectors become a text's vector.
        weights: a safetensors file of float32 tensors that nobody changes meanwhile.
        rows: token ids of each text, int64 (tokens,), none empty.

    Returns:
        float64 (rows, hidden).
    """
    model = _Model(architecture, weights)
    texts = [model.embed(row) for row in rows]
    for names in architecture.layer_names():
        texts = model.layer(texts, names)
    pooled = np.stack([x.mean(0) if settings.pooling == "mean" else x[0] for x in texts])
    if settings.dense:
        (pooled,) = model.linear([pooled], settings.dense.name)
        pooled = np.tanh(pooled) if settings.dense.activation == "tanh" else np.maximum(pooled, 0)
    if settings.normalise:
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    return pooled


class _Model:
    """The parts of an encoder; texts go through a layer together so that it is read once."""

    def __init__(self, architecture: Architecture, weights: Path) -> None:
        self._architecture = architecture
        self._stored = {
            name: np.memmap(weights, np.float32, "r", span.offset, span.shape)
            for name, span in read_spans(weights).items()
        }

    def embed(self, row: NDArray[np.int64]) -> Floats:
        """Token ids (tokens,) to (tokens, hidden)."""
        counted = row != self._architecture.padding
        positions = self._architecture.padding + np.cumsum(counted) * counted
        x = self._float(WORDS, row) + self._float(POSITIONS, positions)
        if self._architecture.token_types:
            x = x + self._float(TOKEN_TYPES, 0)
        (x,) = self._norm([x], EMBEDDINGS_NORM)
        return x

    def layer(self, texts: list[Floats], names: LayerNames) -> list[Floats]:
        """One transformer layer, each (tokens, hidden) to (tokens, hidden)."""
        attended = self.linear(self._attention(texts, names), names.context)
        texts = self._norm(_sums(texts, attended), names.context_norm)
        inner = self.linear(texts, names.inner)
        activated = [_activate(x, self._architecture.activation) for x in inner]
        return self._norm(_sums(texts, self.linear(activated, names.outer)), names.outer_norm)

    def linear(self, texts: list[Floats], name: str) -> list[Floats]:
        """A linear layer, each (n, in) to (n, out)."""
        weight, bias = self._float(f"{name}.weight"), self._float(f"{name}.bias")
        return [x @ weight.T + bias for x in texts]

    def _attention(self, texts: list[Floats], names: LayerNames) -> list[Floats]:
        projected = (self.linear(texts, name) for name in (names.query, names.key, names.value))
        return [self._attend(*qkv) for qkv in zip(*projected, strict=True)]

    def _attend(self, query: Floats, key: Floats, value: Floats) -> Floats:
        tokens, hidden = query.shape
        heads = self._architecture.heads
        q, k, v = (x.reshape(tokens, heads, -1).swapaxes(0, 1) for x in (query, key, value))
        scores = q @ k.swapaxes(1, 2) / sqrt(hidden / heads)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended = weights / weights.sum(-1, keepdims=True) @ v
        return np.asarray(attended.swapaxes(0, 1).reshape(tokens, hidden))

    def _norm(self, texts: list[Floats], name: str) -> list[Floats]:
        scale, shift = self._float(f"{name}.weight"), self._float(f"{name}.bias")
        return [self._standard(x) * scale + shift for x in texts]

    def _standard(self, x: Floats) -> Floats:
        variance = x.var(-1, keepdims=True) + self._architecture.epsilon
        return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(variance))

    def _float(self, name: str, index: NDArray[np.int64] | int | None = None) -> Floats:
        """A tensor, or rows of it, as float64."""
        stored = self._stored[name]
        return np.asarray(stored if index is None else stored[index], np.float64)


def _sums(texts: list[Floats], more: list[Floats]) -> list[Floats]:
    return [x + y for x, y in zip(texts, more, strict=True)]


def _activate(x: Floats, activation: Activation) -> Floats:
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "gelu_new":  # Hendrycks and Gimpel 2016, the tanh approximation
        return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))
    errors = np.fromiter(map(erf, (x / sqrt(2)).ravel()), np.float64, x.size).reshape(x.shape)
    return np.asarray(0.5 * x * (1 + errors))
