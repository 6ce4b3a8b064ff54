"""A classifier that Honed exported: an encoder, pooled as it was while it served, and its head.

Honed writes this file beside the weights where no class of transformers pools like the encoder.
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
    """Pools the encoder's tokens (`mean` of the text's, or `cls`: the first) and classifies."""

    config_class = HonedConfig

    def __init__(self, config: HonedConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(AutoConfig.for_model(**config.encoder))
        self.encoder.pooler = None  # its output would not be used
        self.classifier = torch.nn.Linear(self.encoder.config.hidden_size, config.num_labels)
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
        if self.config.honed["normalise"]:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        logits = self.classifier(vectors)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
