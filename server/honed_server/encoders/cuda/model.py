"""What an encoder computes, in PyTorch: the tokens of many texts in, their states out.

It stands for `honed_adapt.encoders.graph` on a GPU: same names, same computation, without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from honed_adapt.encoders.checkpoint import Activation
from honed_adapt.encoders.families import EMBEDDINGS_NORM, POSITIONS, TOKEN_TYPES, WORDS, LayerNames
from honed_adapt.encoders.store import EncoderFiles

# Query, key and value, (tokens, heads, size) each, to what each token found, of the same shape.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

_ACTIVATIONS: Mapping[Activation | str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
}
_FLASH_TYPES = (torch.float16, torch.bfloat16)
_FLASH_SINCE = (8, 0)  # compute capability
_FLASH_SIZES = range(8, 257, 8)  # of a head


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """Weight and bias of a linear layer or of a layer norm."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """The tensors of a transformer layer; query, key and value are one product."""

    projection: _Affine
    context: _Affine
    context_norm: _Affine
    inner: _Affine
    outer: _Affine
    outer_norm: _Affine


class Model:
    """The weights of an encoder on one device. They stay where they are: graphs read them there.

    Args:
        files: the encoder.
        device: where to compute.
        dtype: of the layers; what follows the pooling stays in float32.
    """

    def __init__(self, files: EncoderFiles, device: torch.device, dtype: torch.dtype) -> None:
        self._architecture = files.architecture
        self._settings = files.settings
        stored = load_file(files.weights, str(device))
        positions = stored[POSITIONS]
        if self._architecture.token_types:
            positions = positions + stored[TOKEN_TYPES][0]  # single texts: always the first type
        self._words, self._positions = stored[WORDS].to(dtype), positions.to(dtype)
        self._norm = _affine(stored, EMBEDDINGS_NORM, dtype)
        self._layers = [_layer(stored, names, dtype) for names in self._architecture.layer_names()]
        dense = self._settings.dense
        self._dense = _affine(stored, dense.name, torch.float32) if dense else None
        self._flash = _has_flash(
            device, dtype, self._architecture.hidden // self._architecture.heads
        )

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest batch that is worth it."""
        return 8192 if self._flash else 2048  # without it attention grows by the square

    def states(self, input_ids: Tensor, position_ids: Tensor, cu_seqlens: Tensor) -> Tensor:
        """The last layer's states, (tokens, hidden).

        Args:
            input_ids: integers (tokens,); those past the last text are padding.
            position_ids: integers (tokens,), rows of the position table.
            cu_seqlens: int32 (texts + 1,), where texts begin and end.
        """
        attend = self._attention(cu_seqlens, input_ids.shape[0])
        words, positions = (
            F.embedding(input_ids, self._words),
            F.embedding(position_ids, self._positions),
        )
        x = self._normed(words + positions, self._norm)
        for layer in self._layers:
            x = self._residual(
                self._attended(x, layer, attend), x, layer.context, layer.context_norm
            )
            inner = _ACTIVATIONS[self._architecture.activation](_linear(x, layer.inner))
            x = self._residual(inner, x, layer.outer, layer.outer_norm)
        return x

    def dense(self, vectors: Tensor) -> Tensor:
        """What follows the pooling, float32 (texts, hidden) to the same."""
        settings = self._settings
        if settings.dense is None or self._dense is None:
            return vectors
        vectors = _ACTIVATIONS[settings.dense.activation](_linear(vectors, self._dense))
        return F.normalize(vectors) if settings.normalise else vectors

    def _attended(self, x: Tensor, layer: _Layer, attend: Attend) -> Tensor:
        heads = self._architecture.heads
        query, key, value = _linear(x, layer.projection).view(len(x), 3, heads, -1).unbind(1)
        return attend(query, key, value).reshape(x.shape)

    def _residual(self, y: Tensor, x: Tensor, linear: _Affine, norm: _Affine) -> Tensor:
        return self._normed(x + _linear(y, linear), norm)

    def _normed(self, x: Tensor, norm: _Affine) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, self._architecture.epsilon)

    def _attention(self, cu_seqlens: Tensor, tokens: int) -> Attend:
        if self._flash:
            return _varlen(cu_seqlens, min(self._settings.max_tokens, tokens))
        return _masked(cu_seqlens, tokens)


def _varlen(cu_seqlens: Tensor, longest: int) -> Attend:
    """Flash attention within each text. What it leaves of tokens past the last one is not read."""
    from torch.nn.attention.varlen import varlen_attn

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = varlen_attn(query, key, value, cu_seqlens, cu_seqlens, longest, longest)
        assert isinstance(found, Tensor), "it was not asked for more"
        return found

    return attend


def _masked(cu_seqlens: Tensor, tokens: int) -> Attend:
    """Dense attention under a block-diagonal mask; tokens past the last text are one more text."""
    places = torch.arange(tokens, dtype=torch.int32, device=cu_seqlens.device)
    texts = torch.searchsorted(cu_seqlens[1:], places, right=True)
    mask = texts[:, None] == texts[None, :]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return found[0].transpose(0, 1)

    return attend


def _has_flash(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    if device.type != "cuda" or dtype not in _FLASH_TYPES or size not in _FLASH_SIZES:
        return False
    return torch.cuda.get_device_capability(device) >= _FLASH_SINCE


def _linear(x: Tensor, affine: _Affine) -> Tensor:
    return F.linear(x, affine.weight, affine.bias)


def _affine(stored: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> _Affine:
    return _Affine(stored[f"{name}.weight"].to(dtype), stored[f"{name}.bias"].to(dtype))


def _layer(stored: Mapping[str, Tensor], names: LayerNames, dtype: torch.dtype) -> _Layer:
    parts = [_affine(stored, name, dtype) for name in (names.query, names.key, names.value)]
    projection = _Affine(
        torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
    )
    rest = (names.context, names.context_norm, names.inner, names.outer, names.outer_norm)
    return _Layer(projection, *(_affine(stored, name, dtype) for name in rest))
