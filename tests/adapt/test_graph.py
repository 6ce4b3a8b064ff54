from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from checkpoints import save_encoder
from honed_adapt.encoders.checkpoint import Architecture, Settings, read_json
from honed_adapt.encoders.graph import Tensors, packed_graph
from honed_adapt.encoders.tensors import read_spans
from oracle import reference

TEXTS = [np.array([2, 7, 9, 3]), np.array([2, 3]), np.array([2, 5, 5, 30, 11, 4, 3])]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "plain")


def _graph(folder: Path, normalise: bool = True) -> bytes:
    architecture = Architecture.of(read_json(folder / "config.json"))
    weights = Tensors("model.safetensors", read_spans(folder / "model.safetensors"))
    return packed_graph(architecture, Settings("mean", normalise, 64), weights)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_plain_runtime_gets_the_vectors_of_transformers(
    checkpoint: Path, normalise: bool
) -> None:
    (checkpoint / "packed.onnx").write_bytes(_graph(checkpoint, normalise))
    session = onnxruntime.InferenceSession(
        str(checkpoint / "packed.onnx"), providers=["CPUExecutionProvider"]
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
    wanted = reference(checkpoint, TEXTS, normalise=normalise)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-5, atol=1e-5)


def test_it_holds_no_weights_and_is_always_the_same(checkpoint: Path) -> None:
    graph = _graph(checkpoint)
    assert len(graph) < (checkpoint / "model.safetensors").stat().st_size / 4
    assert _graph(checkpoint) == graph
