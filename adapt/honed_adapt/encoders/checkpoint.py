"""What a checkpoint's config.json says: which family, which sizes, which tensors must be there.

It stands at the start of an encoder's life: `source.py` reads a folder with it, `graph.py` and
`forward.py` compute what it describes. No weight is loaded here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from honed_adapt.encoders.families import (
    EMBEDDINGS_NORM,
    FAMILIES,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    Dense,
    Family,
    LayerNames,
)

Pooling = Literal["mean", "cls"]
Activation = Literal["gelu", "gelu_new", "relu"]

_ACTIVATIONS: Mapping[object, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}
# What transformers assumes where config.json is silent.
_DEFAULTS = {
    "hidden_act": "gelu",
    "activation": "gelu",
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
}
# Settings that would make another computation of it, and the value that does not.
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "quantization_config": None}

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class EncoderUnsupported(ValueError):
    """Honed cannot serve this checkpoint; the message names what stands against it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How token vectors become a text's vector, and how long a text may be.

    Attributes:
        pooling: mean over the text's tokens, or the first token's vector.
        normalise: whether vectors get length 1.
        max_tokens: longer texts are cut, special tokens included.
        dense: layer that the pooled vector passes, None for none.
    """

    pooling: Pooling
    normalise: bool
    max_tokens: int
    dense: Dense | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """The computation of an encoder, but for its weights.

    Attributes:
        model_type: as transformers names it.
        family: how it names its tensors.
        layers: number of layers.
        heads: attention heads per layer; divides `hidden`.
        hidden: length of a token's vector.
        intermediate: width of the feed-forward part.
        vocabulary: rows of the word table.
        positions: rows of the position table.
        activation: of the feed-forward part; "gelu_new" is the tanh approximation.
        token_types: rows of the token type table, 0 if it has none.
        epsilon: added to the variance in each layer norm.
        padding: a text's positions count its tokens other than this one, from `padding + 1`.
    """

    model_type: str
    family: Family
    layers: int
    heads: int
    hidden: int
    intermediate: int
    vocabulary: int
    positions: int
    activation: Activation
    token_types: int = 0
    epsilon: float = 1e-12
    padding: int = -1

    @classmethod
    def of(cls, config: Mapping[str, object]) -> "Architecture":
        """Read a parsed `config.json`.

        Raises:
            EncoderUnsupported: naming the setting that Honed has no graph for.
        """
        model_type = str(config.get("model_type"))
        if model_type not in FAMILIES:
            raise _refused("model_type", config.get("model_type"), ", ".join(FAMILIES))
        for key, served in _ONLY.items():
            if config.get(key, served) != served:
                raise _refused(key, config[key], f"only {served!r}")
        family = FAMILIES[model_type]
        values: dict[str, Any] = {
            field: _value(field, key, config.get(key, _DEFAULTS.get(key)))
            for field, key in family.keys.items()
        }
        architecture = cls(model_type, family, **values)
        if architecture.hidden % architecture.heads:
            hidden, heads = family.keys["hidden"], family.keys["heads"]
            raise EncoderUnsupported(
                f"config.json: {hidden} {architecture.hidden} does not divide by {heads} "
                f"{architecture.heads}"
            )
        if architecture.max_tokens < 1:
            raise _refused("max_position_embeddings", architecture.positions, "larger tables")
        return architecture

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text for which there are positions."""
        return self.positions - self.padding - 1

    def config(self) -> dict[str, object]:
        """The config.json of this encoder: nothing but what decides its vectors."""
        values = {key: getattr(self, field) for field, key in self.family.keys.items()}
        return {"model_type": self.model_type, **values}

    def layer_names(self) -> list[LayerNames]:
        """The tensors' names of each layer."""
        return [self.family.layer.at(layer) for layer in range(self.layers)]

    def shapes(self, dense: Dense | None) -> dict[str, tuple[int, ...]]:
        """The name and shape of each tensor that the encoder reads, with its dense layer."""
        hidden, intermediate = self.hidden, self.intermediate
        linear: dict[str, tuple[int, ...]] = {}
        norms = [EMBEDDINGS_NORM]
        for names in self.layer_names():
            for name in (names.query, names.key, names.value, names.context):
                linear[name] = (hidden, hidden)
            linear[names.inner] = (intermediate, hidden)
            linear[names.outer] = (hidden, intermediate)
            norms += [names.context_norm, names.outer_norm]
        if dense:
            linear[dense.name] = (hidden, hidden)
        tables = {WORDS: self.vocabulary, POSITIONS: self.positions, TOKEN_TYPES: self.token_types}
        return {
            **{name: (rows, hidden) for name, rows in tables.items() if rows},
            **{f"{name}.weight": shape for name, shape in linear.items()},
            **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
            **{f"{name}.{part}": (hidden,) for name in norms for part in ("weight", "bias")},
        }


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        EncoderUnsupported: if it is missing or not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if _HALF.search(text):  # half a character is JSON, but no label or message can hold it
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise EncoderUnsupported(f"{path} is missing or not JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds an object; raises EncoderUnsupported if it does not."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise EncoderUnsupported(f"{path} is not a JSON object")
    return value


def _value(field: str, key: str, value: object) -> object:
    """A checked value of config.json for a field of `Architecture`."""
    if field == "activation":
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            raise _refused(key, value, ", ".join(map(str, _ACTIVATIONS)))
        return _ACTIVATIONS[value]
    if field == "epsilon":
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise EncoderUnsupported(f"config.json: {key} is {value!r}, not a number in [0, 1)")
        return float(value)
    least = 0 if field == "padding" else 1
    if type(value) is not int or value < least:  # True is an int as well
        raise EncoderUnsupported(f"config.json: {key} is {value!r}, not a count from {least}")
    return value


def _refused(key: str, value: object, served: str) -> EncoderUnsupported:
    return EncoderUnsupported(f"config.json: {key} is {value!r}; Honed serves {served}")
