"""Makes what the peers serve: Honed's own export, as the padded and fused graph that users make.

Runs once per comparison, in the project's environment: it needs torch and transformers.
"""

import json
import shutil
import warnings
from pathlib import Path

import torch
from onnxruntime.transformers import optimizer

from honed_adapt.encoders.modeling_honed import HonedForSequenceClassification
from honed_loadtest.errors import BenchError

CHECKPOINT = "checkpoint"
_OPSET = 17


def make(folder: Path) -> None:
    """Adds `model.onnx`, `labels.json` and `tokenizer.json` to a folder.

    Args:
        folder: holds CHECKPOINT, which `Client.export_model` wrote: the encoder, pooled and
            normalised as Honed does, with the head and its temperature behind.

    Raises:
        BenchError: The graph cannot be fused as its users would have it.
    """
    checkpoint = folder / CHECKPOINT
    model = HonedForSequenceClassification.from_pretrained(checkpoint)
    model.encoder.set_attn_implementation("eager")  # which the optimizer knows how to fuse
    config = model.encoder.config
    raw = folder / "raw.onnx"
    with warnings.catch_warnings():
        # Of the exporter that is old, whose graphs are those that can be fused, about its age.
        warnings.simplefilter("ignore")
        _write(model, raw)
    fused = optimizer.optimize_model(
        str(raw), model_type="bert", num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size, opt_level=0,
    )  # fmt: skip
    layers = fused.get_fused_operator_statistics()["Attention"]
    if layers != config.num_hidden_layers:
        raise BenchError(f"only {layers} attention layers were fused: the peers would look slow")
    fused.save_model_to_file(str(folder / "model.onnx"))
    raw.unlink()
    labels = json.loads((checkpoint / "config.json").read_text())["id2label"]
    (folder / "labels.json").write_text(json.dumps(list(labels.values())))
    shutil.copy(checkpoint / "tokenizer.json", folder)


def _write(model: torch.nn.Module, path: Path) -> None:
    texts = torch.ones(2, 8, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        model, (texts, texts), str(path), dynamo=False, opset_version=_OPSET,
        input_names=names, output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in names} | {"logits": {0: "rows"}},
    )  # fmt: skip
