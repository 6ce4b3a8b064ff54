"""A classifier that Honed exported: an encoder, pooled as it was while it served, and its head.

Honed writes this file beside the weights where no class of transformers answers like the model.
The softmax of `logits` is what Honed answers.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class HonedConfig(PretrainedConfig):
    """Configuration: `encoder` is its config.json, `honed` says how its vectors are pooled."""

    model_type = "honed"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        honed: dict[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        self.encoder = encoder or {"model_type": "bert"}
        self.honed = honed or {"pooling": "mean", "normalise": True}
        super().__init__(**rest)


class HonedForSequenceClassification(PreTrainedModel):
    """Pools the encoder's tokens (`mean` of the text's, or `cls`: the first) and classifies.

    With `features` the classifier reads random Fourier features (Rahimi and Recht 2007) behind the
    pooled vector. Their projection is fixed: it is not to be trained.
    """

    config_class = HonedConfig

    def __init__(self, config: HonedConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(AutoConfig.for_model(**config.encoder))
        self.encoder.pooler = None  # its output would not be used
        hidden, features = self.encoder.config.hidden_size, config.honed.get("features")
        self.dense = torch.nn.Linear(hidden, hidden) if config.honed.get("dense") else None
        count = features["count"] if features else 0
        self.features = torch.nn.Linear(hidden, count).requires_grad_(False) if features else None
        self.classifier = torch.nn.Linear(hidden + count, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits (texts, labels); with `labels` (texts,) also the loss."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        tokens = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(tokens.dtype)
        mean = self.config.honed["pooling"] == "mean"
        vectors = (tokens * mask).sum(1) / mask.sum(1) if mean else tokens[:, 0]
        if self.dense is not None:
            activation = getattr(torch, self.config.honed["dense"]["activation"])
            vectors = activation(self.dense(vectors))
        if self.config.honed["normalise"]:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        if self.features is not None:
            width, count = self.config.honed["features"]["width"], self.features.out_features
            angles = vectors @ self.features.weight.T / width + self.features.bias
            vectors = torch.cat([vectors, angles.cos() * (2 / count) ** 0.5], -1)
        logits = self.classifier(vectors)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
