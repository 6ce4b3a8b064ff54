"""An encoder as a network that can be trained, and back: merged weights under the store's names.

It stands between the encoder store and `fit.py`. transformers computes, PEFT adds the adapter; the
stored names are those of transformers, so nothing is renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as AdaptedLinear
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from honed_adapt.encoders.checkpoint import Architecture
from honed_adapt.encoders.store import EncoderFiles
from honed_adapt.training.tuning import Tuning

_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout",
)  # fmt: skip


class Network(nn.Module):
    """An encoder, its pooling, and the training head: cosines with one direction for each label.

    The head is of the shape that the closed-form head has on unit vectors, so that training makes
    classes compact and apart where that one will look for them.

    Args:
        files: the encoder to begin with.
        labels: how many.
        tuning: kind, rank, dropout and scale.
    """

    def __init__(self, files: EncoderFiles, labels: int, tuning: Tuning) -> None:
        super().__init__()
        self.files = files
        architecture = files.architecture
        tensors = load_file(files.weights)
        self.dense: nn.Linear | None = None
        if dense := files.settings.dense:
            self.dense = nn.Linear(files.hidden, files.hidden)
            names = {part: f"{dense.name}.{part}" for part in ("weight", "bias")}
            self.dense.load_state_dict({part: tensors.pop(name) for part, name in names.items()})
        self.encoder = _stock_model(architecture, tuning.dropout)
        missing, surplus = self.encoder.load_state_dict(tensors, strict=False)
        assert not surplus, "an encoder of a known family holds no other tensors"
        assert not [name for name in missing if "pooler" not in name], "and all of them"
        if tuning.kind == "adapter":
            _add_adapter(self.encoder, architecture, tuning)
        self.directions = nn.Parameter(torch.zeros(labels, files.hidden))
        self._scale = tuning.scale

    def vectors(self, rows: Sequence[NDArray[np.int64]]) -> Tensor:
        """Vectors of token ids, float32 (rows, hidden), as the packed graph makes them."""
        pad = max(self.files.architecture.padding, 0)
        width = max(row.size for row in rows)
        ids = torch.full((len(rows), width), pad)
        mask = torch.zeros(len(rows), width)
        for i, row in enumerate(rows):
            ids[i, : row.size] = torch.from_numpy(row)
            mask[i, : row.size] = 1
        tokens = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        settings = self.files.settings
        if settings.pooling == "cls":
            pooled = tokens[:, 0]
        else:
            pooled = (tokens * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        if settings.dense and self.dense is not None:
            made = self.dense(pooled)
            pooled = made.tanh() if settings.dense.activation == "tanh" else made.relu()
        return functional.normalize(pooled, dim=1) if settings.normalise else pooled

    def logits(self, vectors: Tensor) -> Tensor:
        """Scores of the training head, float32 (rows, labels)."""
        return functional.normalize(vectors, dim=1) @ self.head_weight().T

    def head_weight(self) -> Tensor:
        """The training head on vectors of length 1: logits = vectors @ this.T, (labels, hidden)."""
        return self._scale * functional.normalize(self.directions, dim=1)

    def merged(self) -> dict[str, Tensor]:
        """The encoder's tensors under the store's names, the adapter worked into them."""
        found: dict[str, Tensor] = {}
        for name, module in self.encoder.named_modules():
            if isinstance(module, AdaptedLinear):
                base = module.get_base_layer()
                assert isinstance(base, nn.Linear), "only linear layers are adapted"
                found[f"{name}.weight"] = base.weight + module.get_delta_weight("default")
                found[f"{name}.bias"] = base.bias
        for name, tensor in self.encoder.state_dict().items():
            if "lora_" not in name and ".base_layer." not in name:
                found[name] = tensor
        dense = self.files.settings.dense
        if dense is not None and self.dense is not None:
            found |= {f"{dense.name}.{k}": v for k, v in self.dense.state_dict().items()}
        shapes = self.files.architecture.shapes(dense)
        return {name: found[name].detach().contiguous() for name in shapes}


def _stock_model(architecture: Architecture, dropout: float) -> nn.Module:
    settings: dict[str, Any] = dict(architecture.config())
    config = AutoConfig.for_model(**settings)
    for name in _DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    model: nn.Module = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    return model


def _add_adapter(model: nn.Module, architecture: Architecture, tuning: Tuning) -> None:
    parts = []
    for names in architecture.layer_names():
        parts += [names.query, names.value]
        if tuning.everywhere:
            parts += [names.key, names.context, names.inner, names.outer]
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.strength * tuning.rank,
        lora_dropout=tuning.dropout,
        target_modules=parts,
    )
    inject_adapter_in_model(config, model)
