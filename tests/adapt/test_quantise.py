"""The arithmetic of integer products, and the integer form of an encoder on disk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import FAMILIES, save_encoder
from honed_adapt.encoders.integers import open_integers, write_integers
from honed_adapt.encoders.quantise import Range, rounded
from honed_adapt.encoders.store import (
    EncoderDamaged,
    EncoderFiles,
    default_source,
    import_encoder,
    open_encoder,
)
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from oracle import real_texts


def product(x, factors, zero_point, of, by_token=False):
    """What the graph computes: QuantizeLinear, then MatMulIntegerToFloat."""
    scaled, step = x * factors, 1.0
    if by_token:
        step = np.maximum(scaled.max(axis=1, keepdims=True) / (255 - zero_point), 1e-9)
    rounded = np.clip(np.rint(scaled / step) + zero_point, 0, 255).astype(np.int64) - zero_point
    return (rounded @ of.integers.astype(np.int64)).astype(np.float32) * of.steps * step


@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(1, 96),
    outlier=st.floats(1, 100),
    shift=st.floats(-3, 3),
    by_token=st.booleans(),
)
def test_products_in_integers_are_near_and_fit_16_bits(seed, inputs, outlier, shift, by_token):
    random = np.random.default_rng(seed)
    x = (random.normal(size=(64, inputs)) + shift).astype(np.float32)
    x[:, random.integers(inputs)] *= outlier
    if by_token:  # that is how activations are: hardly below 0, and some of each token above
        x = np.maximum(x, -0.17)
        x[:, 0] = np.abs(x[:, 0]) + 1
    matrices = [random.normal(size=(5, inputs)).astype(np.float32) for _ in range(2)]
    seen = Range(x.min(axis=0), x.max(axis=0))
    factors, zero_point, products = rounded(matrices, seen, by_token=by_token)
    assert 0 <= zero_point <= 255
    for matrix, of in zip(matrices, products, strict=True):
        exact, found = x @ matrix.T, product(x, factors, zero_point, of, by_token)
        size = np.abs(x) @ np.abs(matrix).T
        # A token's step leaves little room below 0: some of what lies there may be cut.
        allowed = 0.15 if by_token else 0.05
        assert (np.abs(found - exact) <= allowed * size.max() + 1e-3).all()
        # Two neighbouring products are summed in 16 bits by processors without VNNI.
        assert np.abs(of.integers.astype(int)).max() * 255 * 2 < 2**15


def test_channels_that_are_always_zero_are_no_trouble():
    zeros = np.zeros(4, np.float32)
    factors, zero_point, (of,) = rounded([np.zeros((3, 4), np.float32)], Range(zeros, zeros))
    assert np.isfinite(factors).all()
    assert (product(np.zeros((1, 4), np.float32), factors, zero_point, of) == 0).all()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def minilm(home: Path) -> EncoderFiles:
    files = open_encoder(home, import_encoder(default_source(), home))
    write_integers(home, files.digest)
    return files


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_an_integer_form(tmp_path: Path, family: str) -> None:
    digest = import_encoder(save_encoder(tmp_path / "source", family), tmp_path)
    write_integers(tmp_path, digest)
    files = open_integers(tmp_path, digest)
    rows = [tokens.ids for tokens in Tokenizer(files).tokenise(real_texts()[:40])]
    exact = OnnxEncoder(open_encoder(tmp_path, digest)).encode(rows)
    found = OnnxEncoder(files).encode(rows)
    assert files.precision == "int8"
    assert (exact * found).sum(axis=1).min() > 0.9


def test_a_text_is_as_good_as_independent_of_its_neighbours(
    home: Path, minilm: EncoderFiles
) -> None:
    encoder = OnnxEncoder(open_integers(home, minilm.digest))
    rows = [tokens.ids for tokens in Tokenizer(minilm).tokenise(real_texts())]
    alone = np.concatenate([encoder.encode([row]) for row in rows])
    groups = [rows[start : start + 7] for start in range(0, len(rows), 7)]
    together = np.concatenate([encoder.encode(group) for group in groups])
    moved = np.abs(alone - together).max(axis=1)
    # A scale that is shared by a batch moves every text by 0.02 (research/performance.md, E).
    assert np.median(moved) < 1e-6
    assert moved.max() < 0.02
    exact = OnnxEncoder(minilm).encode(rows[:20])
    assert (exact * alone[:20]).sum(axis=1).min() > 0.98


def test_the_same_encoder_gives_the_same_files(
    home: Path, minilm: EncoderFiles, tmp_path: Path
) -> None:
    other = open_encoder(tmp_path, import_encoder(default_source(), tmp_path))
    write_integers(tmp_path, other.digest)
    for name in ("int8.safetensors", "int8.onnx"):
        assert (other.folder / name).read_bytes() == (minilm.folder / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["int8.safetensors", "int8.onnx", "int8-probes.safetensors", "int8.json"]
)
def test_a_damaged_form_is_refused_and_written_anew(tmp_path: Path, name: str) -> None:
    digest = import_encoder(save_encoder(tmp_path / "source"), tmp_path)
    with pytest.raises(EncoderDamaged, match=r"int8\.json"):
        open_integers(tmp_path, digest)
    write_integers(tmp_path, digest)
    path = tmp_path / "encoders" / digest / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EncoderDamaged, match=name.replace(".", r"\.")):
        open_integers(tmp_path, digest)
    open_encoder(tmp_path, digest)  # the float32 form serves meanwhile
    write_integers(tmp_path, digest)
    assert open_integers(tmp_path, digest).digest == digest
