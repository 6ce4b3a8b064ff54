import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import FAMILIES, POSITIONS, save_encoder
from honed_adapt.encoders.store import (
    EncoderDamaged,
    EncoderFiles,
    default_source,
    import_encoder,
    open_encoder,
)
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from oracle import real_texts, reference

TOLERANCE = 1e-5
Rows = list[NDArray[np.int64]]


@pytest.fixture(scope="module", params=["minilm", *FAMILIES])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param != "minilm":
        return save_encoder(tmp_path_factory.mktemp("small"), request.param)
    minilm = default_source()
    assert minilm is not None
    return minilm


@pytest.fixture(scope="module")
def files(source: Path, tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    home = tmp_path_factory.mktemp("home")
    return open_encoder(home, import_encoder(source, home))


@pytest.fixture(scope="module")
def encoder(files: EncoderFiles) -> OnnxEncoder:
    return OnnxEncoder(files)


@pytest.fixture(scope="module")
def rows(files: EncoderFiles) -> Rows:
    return [tokens.ids for tokens in Tokenizer(files).tokenise(real_texts())]


@pytest.fixture(scope="module")
def alone(encoder: OnnxEncoder, rows: Rows) -> NDArray[np.float32]:
    return np.concatenate([encoder.encode([row]) for row in rows])


def test_vectors_are_those_of_transformers(
    source: Path, files: EncoderFiles, rows: Rows, alone: NDArray[np.float32]
) -> None:
    assert max(row.size for row in rows) == files.max_tokens
    assert alone.dtype == np.float32
    np.testing.assert_allclose(alone, reference(source, rows), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [2, 7, 16])
def test_a_vector_does_not_depend_on_its_neighbours(
    encoder: OnnxEncoder, rows: Rows, alone: NDArray[np.float32], size: int
) -> None:
    order = np.random.default_rng(size).permutation(len(rows))
    for batch in np.array_split(order, len(rows) // size):
        vectors = encoder.encode([rows[i] for i in batch])
        np.testing.assert_allclose(vectors, alone[batch], rtol=0, atol=TOLERANCE)


def test_threads_may_share_it(encoder: OnnxEncoder, rows: Rows, alone: NDArray[np.float32]) -> None:
    batches = [list(range(i, i + 8)) for i in range(0, 56, 8)] * 2
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(lambda batch: encoder.encode([rows[i] for i in batch]), batches)
        for batch, vectors in zip(batches, results, strict=True):
            np.testing.assert_allclose(vectors, alone[batch], rtol=0, atol=TOLERANCE)


def test_a_widened_encoder_answers_the_same(
    encoder: OnnxEncoder, rows: Rows, alone: NDArray[np.float32]
) -> None:
    for threads in (2, 1):
        encoder.widen(threads)
        for lone in (True, False):
            vectors = encoder.encode(rows[:3], lone=lone)
            np.testing.assert_allclose(vectors, alone[:3], rtol=0, atol=TOLERANCE)


def test_no_texts_give_no_vectors(encoder: OnnxEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.hidden)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_pools_as_the_checkpoint_says(tmp_path: Path, pooling: str, normalise: bool) -> None:
    source = save_encoder(tmp_path / "source", num_hidden_layers=1, num_attention_heads=2)
    _describe(source, pooling, normalise)
    files = open_encoder(tmp_path, import_encoder(source, tmp_path))
    rows = [tokens.ids for tokens in Tokenizer(files).tokenise(real_texts()[:20])]
    wanted = reference(source, rows, pooling=pooling, normalise=normalise)
    np.testing.assert_allclose(OnnxEncoder(files).encode(rows), wanted, rtol=1e-5, atol=TOLERANCE)


def test_a_text_may_fill_the_position_table(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source")
    files = open_encoder(tmp_path, import_encoder(source, tmp_path))
    assert files.max_tokens == POSITIONS
    (tokens,) = Tokenizer(files).tokenise(["a " * 1000])
    assert OnnxEncoder(files).encode([tokens.ids] * 2).shape == (2, 32)


def test_the_store_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    digest = import_encoder(save_encoder(tmp_path / "source"), tmp_path / "link")
    OnnxEncoder(open_encoder(tmp_path / "link", digest))


def test_an_engine_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source")
    files = open_encoder(tmp_path, import_encoder(source, tmp_path))
    graph = files.graph.read_bytes()
    files.graph.write_bytes(
        graph.replace(b"layer.1.attention.self.key", b"layer.0.attention.self.key")
    )
    with pytest.raises(EncoderDamaged, match=r"packed\.onnx does not compute.*differ by"):
        OnnxEncoder(files)


def _describe(source: Path, pooling: str, normalise: bool) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in modules[: 3 if normalise else 2]
    ]
    (source / "modules.json").write_text(json.dumps(listed))
    (source / "1_Pooling").mkdir()
    mode = "pooling_mode_mean_tokens" if pooling == "mean" else "pooling_mode_cls_token"
    (source / "1_Pooling" / "config.json").write_text(json.dumps({mode: True}))
