"""The GPU's engine in the kernels themselves, by Triton's interpreter: what it would compile."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from launches import compiled_ahead, launched

from checkpoints import save_encoder
from honed_adapt.encoders.store import EncoderFiles, default_source, import_encoder, open_encoder
from honed_kernels.fourier import GRID, Fourier, Projection
from honed_kernels.head import HeadWeights
from honed_server.encoders.cuda.encoder import TorchEncoder
from honed_server.encoders.cuda.graphs import Direct
from honed_server.encoders.onnx import OnnxEncoder


def _minilm(home: Path) -> EncoderFiles:
    source = default_source()
    assert source is not None
    made = open_encoder(home, import_encoder(source, home))
    return replace(made, settings=replace(made.settings, max_tokens=32))  # fewer graphs


def _small(home: Path) -> EncoderFiles:
    """Vectors of 24 numbers: Triton makes other kernels of what does not divide by 16."""
    source = save_encoder(home / "source", num_hidden_layers=1, hidden_size=24)
    return open_encoder(home, import_encoder(source, home))


@pytest.fixture
def files(request: pytest.FixtureRequest, tmp_path: Path) -> EncoderFiles:
    made: EncoderFiles = request.param(tmp_path)
    return made


def _head(files: EncoderFiles, labels: int, features: Fourier | None = None) -> HeadWeights:
    random = np.random.default_rng(labels)
    width = files.hidden + (features.count if features else 0)
    weight = random.standard_normal((labels, width)).astype(np.float32)
    return HeadWeights(weight, np.zeros(labels, np.float32), features=features)


def _projection(files: EncoderFiles) -> Projection:
    steps = np.random.default_rng(0).normal(size=(files.hidden, 100)).clip(-7, 7)
    return Projection(np.rint(steps / GRID) * GRID, np.full(100, 0.3))


def _assert_right(encoder: TorchEncoder, files: EncoderFiles, heads: list[HeadWeights]) -> None:
    rows, head_id = list(files.probes.rows[:3]), np.arange(3) % len(heads)
    got, vectors = encoder.answer(rows, heads, head_id, top_k=[1, 2, 3])
    want, known = OnnxEncoder(files).answer(rows, heads, head_id, top_k=[1, 2, 3])
    np.testing.assert_allclose(vectors, known, rtol=0, atol=1e-4)
    for mine, theirs in zip(got.probabilities, want.probabilities, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-3)
    assert [list(ids) for ids in got.indices] == [list(ids) for ids in want.indices]


@pytest.mark.parametrize("files", [_minilm, _small], ids=["minilm", "small"], indirect=True)
def test_nothing_is_compiled_once_it_is_ready(files: EncoderFiles) -> None:
    """Neither by batches nor by a table that grows: to labels, to features, to more of them."""
    with launched() as keys:
        encoder = TorchEncoder(files, [Direct()], 32)
        ready = set(keys)
        shared = _projection(files)
        heads = [_head(files, 3), _head(files, 2)]
        _assert_right(encoder, files, heads)
        assert keys == ready
        for grown in (
            _head(files, 300, Fourier(shared, 40, 1.5)),
            _head(files, 5, Fourier(shared, 100, 2.5)),
        ):
            heads.append(grown)
            _assert_right(encoder, files, heads[-3:])
            assert keys == ready, "while graphs are captured anew"
            _joined()
            _assert_right(encoder, files, heads[-3:])
            assert keys == ready, "by the new graphs"
    names = {name for name, *_ in keys}
    assert names == {"pool_kernel", "cosine_kernel", "score_kernel"}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("files", [_minilm], indirect=True)
def test_all_that_it_launches_is_compiled_ahead_of_time(
    files: EncoderFiles, precision: str
) -> None:
    with launched() as keys:
        encoder = TorchEncoder(replace(files, precision=precision), [Direct()], 32)
        rows = list(files.probes.rows[:2])
        featured = _head(files, 4, Fourier(_projection(files), 40, 1.5))
        encoder.answer(rows, [_head(files, 3), featured], np.arange(2), top_k=[2, 2])
        _joined()
    assert keys
    assert keys <= compiled_ahead()


def _joined() -> None:
    for thread in threading.enumerate():
        if thread.name == "capture":
            thread.join(60)
