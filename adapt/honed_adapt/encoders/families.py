"""The families of encoders that Honed serves, and how each names its sizes and its tensors.

It stands under `checkpoint.py` and is data only: with these names one graph writer, one forward
pass and one reader of heads serve all families. All of them are the same computation (Vaswani et
al. 2017, post-LN, as in BERT, Devlin et al. 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
EMBEDDINGS_NORM = "embeddings.LayerNorm"


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Where the parts of a transformer layer lie; each has `.weight` and `.bias`.

    Attributes:
        query, key, value: linear layers of the attention.
        context: linear layer after the attention.
        context_norm: layer norm of the first residual sum.
        inner: linear layer from `hidden` to `intermediate`.
        outer: linear layer back to `hidden`.
        outer_norm: layer norm of the second residual sum.
    """

    query: str
    key: str
    value: str
    context: str
    context_norm: str
    inner: str
    outer: str
    outer_norm: str

    def at(self, layer: int) -> "LayerNames":
        """The names in one layer, from 0."""
        return LayerNames(*(getattr(self, field.name).format(layer) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Dense:
    """The layer between the pooled vector and the final linear layer of a classifier.

    Attributes:
        name: of its tensors, without `.weight` and `.bias`.
        activation: applied to its output.
    """

    name: str
    activation: Literal["tanh", "relu"]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family writes itself down.

    Attributes:
        prefix: before the names of the encoder's tensors where a classifier was saved.
        keys: field of `Architecture` -> key of config.json.
        layer: names in a layer, with {} for its number.
        dense: what a classifier puts between the first token's vector and its final layer.
        classifier: name of that final layer.
    """

    prefix: str
    keys: Mapping[str, str]
    layer: LayerNames
    dense: Dense
    classifier: str


_BERT_KEYS = {
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "epsilon": "layer_norm_eps",
    "activation": "hidden_act",
}

_BERT = Family(
    prefix="bert.",
    keys=_BERT_KEYS,
    layer=LayerNames(
        query="encoder.layer.{}.attention.self.query",
        key="encoder.layer.{}.attention.self.key",
        value="encoder.layer.{}.attention.self.value",
        context="encoder.layer.{}.attention.output.dense",
        context_norm="encoder.layer.{}.attention.output.LayerNorm",
        inner="encoder.layer.{}.intermediate.dense",
        outer="encoder.layer.{}.output.dense",
        outer_norm="encoder.layer.{}.output.LayerNorm",
    ),
    dense=Dense("pooler.dense", "tanh"),
    classifier="classifier",
)

_ROBERTA = replace(
    _BERT,
    prefix="roberta.",
    keys={**_BERT_KEYS, "padding": "pad_token_id"},  # its positions are counted from there
    dense=Dense("classifier.dense", "tanh"),
    classifier="classifier.out_proj",
)

_DISTILBERT = Family(
    prefix="distilbert.",
    keys={
        "layers": "n_layers",
        "heads": "n_heads",
        "hidden": "dim",
        "intermediate": "hidden_dim",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "activation": "activation",
    },
    layer=LayerNames(
        query="transformer.layer.{}.attention.q_lin",
        key="transformer.layer.{}.attention.k_lin",
        value="transformer.layer.{}.attention.v_lin",
        context="transformer.layer.{}.attention.out_lin",
        context_norm="transformer.layer.{}.sa_layer_norm",
        inner="transformer.layer.{}.ffn.lin1",
        outer="transformer.layer.{}.ffn.lin2",
        outer_norm="transformer.layer.{}.output_layer_norm",
    ),
    dense=Dense("pre_classifier", "relu"),
    classifier="classifier",
)

EXPORTED = "honed"
"""model_type of the classifiers that Honed exports with code of its own (`modeling_honed.py`)."""


def exported(family: Family) -> Family:
    """How such a classifier names what an encoder of this family holds."""
    return replace(family, prefix="encoder.", classifier="classifier")


FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": _DISTILBERT,
}
