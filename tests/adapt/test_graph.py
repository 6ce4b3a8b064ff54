from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bert_oracle import reference, save_checkpoint
from honed_adapt.checkpoint import BertShape, EncoderUnsupported, Span, read_json, read_spans
from honed_adapt.graph import packed_graph

TEXTS = [np.array([2, 7, 9, 3]), np.array([2, 3]), np.array([2, 5, 5, 30, 11, 4, 3])]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "plain")


def _graph(folder: Path, normalise: bool = True) -> bytes:
    shape = BertShape.of(read_json(folder / "config.json"))
    spans = read_spans(folder / "model.safetensors")
    return packed_graph(shape, spans, normalise=normalise, weights_file="model.safetensors")


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_plain_runtime_gets_the_vectors_of_transformers(
    tmp_path: Path, prefixed: bool, normalise: bool
) -> None:
    folder = save_checkpoint(tmp_path / "source", prefixed=prefixed)
    (folder / "packed.onnx").write_bytes(_graph(folder, normalise))
    session = onnxruntime.InferenceSession(
        str(folder / "packed.onnx"), providers=["CPUExecutionProvider"]
    )
    lengths = [text.size for text in TEXTS]
    row_ids = np.repeat(np.arange(3), lengths)
    pool = (np.arange(3)[:, None] == row_ids) / np.array(lengths)[:, None]
    inputs = {
        "input_ids": np.concatenate(TEXTS),
        "position_ids": np.concatenate([np.arange(n) for n in lengths]),
        "row_ids": row_ids,
        "pool": pool.astype(np.float32),
    }
    (vectors,) = session.run(["vectors"], inputs)
    wanted = reference(folder, TEXTS, normalise=normalise)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-5, atol=1e-5)


def test_it_holds_no_weights_and_is_always_the_same(checkpoint: Path) -> None:
    graph = _graph(checkpoint)
    assert len(graph) < (checkpoint / "model.safetensors").stat().st_size / 4
    assert _graph(checkpoint) == graph


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model_type", "roberta"),
        ("hidden_act", "gelu_new"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("num_attention_heads", 5),
        ("num_hidden_layers", 0),
        ("hidden_size", "32"),
        ("layer_norm_eps", None),
    ],
)
def test_an_encoder_of_another_kind_is_refused_by_name(
    checkpoint: Path, setting: str, value: object
) -> None:
    config = read_json(checkpoint / "config.json") | {setting: value}
    with pytest.raises(EncoderUnsupported, match="heads" if "heads" in setting else setting):
        BertShape.of(config)


def test_a_configuration_without_a_model_type_is_refused() -> None:
    with pytest.raises(EncoderUnsupported, match="model_type"):
        BertShape.of({})


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (None, "lack"),
        (Span("F16", (48, 32), 0), "F16"),
        (Span("F32", (32, 48), 0), "shape"),
        (Span("F32", (48,), 0), "shape"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(
    checkpoint: Path, span: Span | None, reason: str
) -> None:
    name = "encoder.layer.1.intermediate.dense.weight"
    shape = BertShape.of(read_json(checkpoint / "config.json"))
    spans = read_spans(checkpoint / "model.safetensors")
    del spans[name]
    if span is not None:
        spans[name] = span
    with pytest.raises(EncoderUnsupported, match=rf"{reason}.*{name}|{name}.*{reason}"):
        packed_graph(shape, spans, normalise=True, weights_file="model.safetensors")


def test_a_cut_weights_file_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(EncoderUnsupported, match="not a sound safetensors file"):
        read_spans(path)
