"""The GPU's engine on the CPU: the same code, but that graphs are not recorded."""

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from checkpoints import FAMILIES, save_encoder
from honed_adapt.encoders.store import (
    EncoderDamaged,
    EncoderFiles,
    default_source,
    import_encoder,
    open_encoder,
)
from honed_adapt.insight import open_set
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import weights_of
from honed_kernels.fourier import GRID, Fourier, Projection
from honed_kernels.head import HeadNotFinite, HeadWeights
from honed_server.encoders.cuda.device import torch_device
from honed_server.encoders.cuda.encoder import TorchEncoder
from honed_server.encoders.cuda.graphs import Direct
from honed_server.encoders.cuda.shapes import Shape, runs, shapes_up_to, smallest
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from oracle import real_texts

TOLERANCE = 1e-4
MOST_TOKENS = 256
Rows = list[NDArray[np.int64]]


class Counted(Direct):
    """Counts what is captured and what is replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.captures = self.replays = 0

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        replay = super().capture(step)
        self.captures += 1

        def counted() -> None:
            self.replays += 1
            replay()

        return counted


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter takes a thousand times as long: `test_torch_kernels.py` runs in it."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.fixture(scope="module", params=["minilm", *FAMILIES])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    home = tmp_path_factory.mktemp("home")
    source = default_source()
    if request.param != "minilm":
        source = save_encoder(tmp_path_factory.mktemp("small"), request.param)
    assert source is not None
    return open_encoder(home, import_encoder(source, home))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    home = tmp_path_factory.mktemp("one")
    source = save_encoder(tmp_path_factory.mktemp("source"), num_hidden_layers=1)
    return open_encoder(home, import_encoder(source, home))


@pytest.fixture
def graphs() -> Counted:
    return Counted()


@pytest.fixture
def encoder(small: EncoderFiles, graphs: Counted) -> TorchEncoder:
    return TorchEncoder(small, [graphs], MOST_TOKENS)


@pytest.fixture(scope="module")
def texts(small: EncoderFiles) -> Rows:
    return [tokens.ids for tokens in Tokenizer(small).tokenise(real_texts())]


def test_vectors_are_those_of_the_cpu_engine(files: EncoderFiles) -> None:
    rows = [tokens.ids for tokens in Tokenizer(files).tokenise(real_texts())]
    encoder = TorchEncoder(files, [Direct()], MOST_TOKENS)
    wanted = np.concatenate([OnnxEncoder(files).encode([row]) for row in rows])
    np.testing.assert_allclose(encoder.encode(rows), wanted, rtol=0, atol=TOLERANCE)  # many runs
    np.testing.assert_allclose(encoder.encode(rows[3:4]), wanted[3:4], rtol=0, atol=TOLERANCE)
    assert (encoder.digest, encoder.hidden) == (files.digest, files.hidden)
    assert encoder.encode([]).shape == (0, files.hidden)


def test_answers_are_those_of_the_cpu_engine(
    small: EncoderFiles, encoder: TorchEncoder, texts: Rows
) -> None:
    heads = [_head(small, labels) for labels in (1, 2, 7, 150)]
    head_id = np.arange(len(texts)) % len(heads)
    top_k = [1 + n % 20 for n in range(len(texts))]
    for logits in (False, True):
        asked = {"top_k": top_k, "logits": logits}
        got, vectors = encoder.answer(texts, heads, head_id, **asked)
        want, known = OnnxEncoder(small).answer(texts, heads, head_id, **asked)
        np.testing.assert_allclose(vectors, known, rtol=0, atol=TOLERANCE)
        for mine, theirs in zip(got.probabilities, want.probabilities, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE)
        assert [ids[0] for ids in got.indices] == [ids[0] for ids in want.indices]
        assert [ids.dtype for ids in got.indices] == [ids.dtype for ids in want.indices]
        assert (got.logits is None) == (want.logits is None)


def test_a_row_does_not_depend_on_its_neighbours(
    small: EncoderFiles, encoder: TorchEncoder, texts: Rows
) -> None:
    heads = [_head(small, labels) for labels in (3, 77)]
    picked = np.arange(len(texts)) % 2
    alone = [_best(encoder, [row], heads, picked[n : n + 1]) for n, row in enumerate(texts)]
    for seed in range(3):
        for batch in np.array_split(np.random.default_rng(seed).permutation(len(texts)), 9):
            labels, probabilities = _best(encoder, [texts[n] for n in batch], heads, picked[batch])
            assert labels == [alone[n][0][0] for n in batch]
            wanted = [alone[n][1][0] for n in batch]
            np.testing.assert_allclose(probabilities, wanted, rtol=0, atol=1e-5)


def test_threads_and_devices_share_it(small: EncoderFiles, texts: Rows) -> None:
    places = [Counted(), Counted()]
    encoder, head = TorchEncoder(small, places, MOST_TOKENS), _head(small, 5)
    before = [place.replays for place in places]
    wanted = [_best(encoder, [row], [head], np.zeros(1, np.int64)) for row in texts]
    with ThreadPoolExecutor(4) as threads:
        got = threads.map(
            lambda row: _best(encoder, [row], [head], np.zeros(1, np.int64)), texts * 2
        )
        assert list(got) == wanted * 2
    assert all(place.replays > count for place, count in zip(places, before, strict=True))


def test_a_batch_finds_the_head_that_it_names_through_a_thousand_swaps(
    small: EncoderFiles, encoder: TorchEncoder, graphs: Counted, texts: Rows
) -> None:
    """Two revisions of a model may be under way at once: who was formed first may run last."""
    captures, oracle = graphs.captures, OnnxEncoder(small)
    row, zero = texts[:1], np.zeros(1, np.int64)
    before = _head(small, 7, seed=0)
    for swap in range(1, 1_000):
        after = _head(small, 7, seed=swap)
        for head in (after, before) if swap % 50 == 0 else (after,):
            labels, probabilities = _best(encoder, row, [head], zero)
            wanted = oracle.answer(row, [head], zero, top_k=[1])[0]
            assert labels == [wanted.indices[0][0]]
            np.testing.assert_allclose(probabilities, wanted.probabilities[0], atol=TOLERANCE)
        before = after
    assert graphs.captures == captures, "heads that nobody holds any more leave their room"


def test_a_table_that_is_full_grows_while_it_serves(
    small: EncoderFiles, encoder: TorchEncoder, graphs: Counted, texts: Rows
) -> None:
    captures, oracle = graphs.captures, OnnxEncoder(small)
    heads = [_head(small, 3, seed=seed) for seed in range(200)]
    head_id = np.arange(200)
    rows = [texts[0]] * 200
    for _ in range(2):
        labels, _ = _best(encoder, rows, heads, head_id)
        wanted = oracle.answer(rows, heads, head_id, top_k=[1] * 200)[0]
        assert labels == [ids[0] for ids in wanted.indices]
    wide = [*heads[:1], _head(small, 500)]  # and one that has more labels than there is room for
    labels, _ = _best(encoder, rows[:2], wide, np.arange(2))
    wanted = oracle.answer(rows[:2], wide, np.arange(2), top_k=[1, 1])[0]
    assert labels == [ids[0] for ids in wanted.indices]
    _joined("capture")
    replays = graphs.replays
    assert _best(encoder, rows[:2], wide, np.arange(2))[0] == labels
    assert graphs.captures > captures
    assert graphs.replays > replays, "the new graphs are used"


def test_a_head_too_large_for_the_table_answers_as_well(
    small: EncoderFiles, encoder: TorchEncoder, texts: Rows
) -> None:
    heads, head_id = [_head(small, 5_000), _head(small, 3)], np.array([0, 1, 0])
    labels, _ = _best(encoder, texts[:3], heads, head_id)
    wanted = OnnxEncoder(small).answer(texts[:3], heads, head_id, top_k=[1] * 3)[0]
    assert labels == [ids[0] for ids in wanted.indices]


def test_heads_with_features_answer_on_the_device(
    small: EncoderFiles, graphs: Counted, texts: Rows
) -> None:
    """Beside one without, and one of another projection, which the CPU answers."""
    encoder = TorchEncoder(small, [graphs], MOST_TOKENS)
    first, second = _projection(small, 1), _projection(small, 2)
    heads = [
        _featured(small, first, 40),
        _head(small, 3),
        _featured(small, first, 7),
        _featured(small, second, 9),
    ]
    head_id, top_k = np.array([0, 1, 2, 3, 0, 3]), [1, 2, 3, 2, 9, 1]
    got, _ = encoder.answer(texts[:6], heads, head_id, top_k=top_k)
    want, _ = OnnxEncoder(small).answer(texts[:6], heads, head_id, top_k=top_k)
    np.testing.assert_allclose(got.energy, want.energy, rtol=0, atol=1e-3)
    for row in range(6):
        np.testing.assert_array_equal(got.indices[row], want.indices[row])
        np.testing.assert_allclose(
            got.probabilities[row], want.probabilities[row], rtol=0, atol=1e-3
        )


def test_out_of_scope_scores_are_those_of_the_cpu_engine(
    small: EncoderFiles, graphs: Counted, texts: Rows
) -> None:
    lane, theirs = Lane(small.hidden), OnnxEncoder(small)
    vectors = theirs.encode(texts[:80])
    lane.apply(
        [
            Row(at, bytes([at]), f"l{at % 3}", "", 1.0, vector)
            for at, vector in enumerate(vectors, 1)
        ]
    )
    head, weights = lane.head, [weights_of(lane.head)]
    assert head.open_set is not None
    found = []
    for encoder in (TorchEncoder(small, [graphs], MOST_TOKENS), theirs):
        which = np.zeros(len(texts), np.int64)
        output, seen = encoder.answer(texts, weights, which, top_k=[1] * len(texts))
        found.append(open_set.of_batch([head], which, output, seen))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-3)


def test_a_head_that_overflows_is_named(
    small: EncoderFiles, encoder: TorchEncoder, texts: Rows
) -> None:
    sound, vector = _head(small, 2), encoder.encode(texts[1:2])[0]
    broken = replace(sound, weight=np.stack([3e38 * np.sign(vector), vector]))
    with pytest.raises(HeadNotFinite, match="head 1") as caught:
        encoder.answer(texts[:3], [sound, broken], np.array([0, 1, 0]), top_k=[1] * 3)
    assert caught.value.head_id == 1


def test_nothing_is_captured_once_it_is_ready(
    encoder: TorchEncoder, graphs: Counted, texts: Rows, small: EncoderFiles
) -> None:
    captures, replays = graphs.captures, graphs.replays
    assert captures == len(shapes_up_to(MOST_TOKENS))
    for size in (1, 2, 5, 13, 40):
        encoder.answer(
            texts[:size], [_head(small, size)], np.zeros(size, np.int64), top_k=[1] * size
        )
    assert graphs.captures == captures
    assert graphs.replays >= replays + 5


def test_what_nobody_uses_is_freed_at_once(small: EncoderFiles, texts: Rows) -> None:
    gc.collect()
    gc.disable()
    try:
        encoder = TorchEncoder(small, [Direct()], MOST_TOKENS)
        _best(encoder, texts[:2], [_head(small, 2)], np.zeros(2, np.int64))
        left = weakref.ref(encoder)
        del encoder
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_types_are_held_to_the_recorded_probes(small: EncoderFiles, precision: str) -> None:
    encoder = TorchEncoder(replace(small, precision=precision), [Direct()], 64)
    assert encoder.precision == precision
    wrong = replace(small.probes, vectors=np.roll(small.probes.vectors, 1, axis=0))
    with pytest.raises(EncoderDamaged, match=r"model\.safetensors does not compute"):
        TorchEncoder(replace(small, precision=precision, probes=wrong), [Direct()], 64)


def test_an_encoder_that_leaves_the_range_of_fp16_gets_another_type(tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source", hidden_act="relu")
    stored = load_file(source / "model.safetensors")
    for name, tensor in stored.items():
        if ".intermediate." in name:
            stored[name] = tensor * 1e6
        elif name.endswith("output.dense.weight") and "attention" not in name:
            stored[name] = tensor * 1e-6
    save_file(stored, source / "model.safetensors", {"format": "pt"})
    files = open_encoder(tmp_path, import_encoder(source, tmp_path))
    load = torch_device([Direct], ["fp16", "bf16"], 64).load
    assert load(files).precision == "bf16"
    with pytest.raises(EncoderDamaged):
        torch_device([Direct], ["fp16"], 64).load(files)


@pytest.mark.parametrize("most", [1, 16, 100, 8_192])
def test_graphs_waste_less_than_a_third(most: int) -> None:
    shapes = shapes_up_to(most)
    assert shapes[-1].tokens >= most
    for before, after in pairwise(shapes):
        assert before.tokens < after.tokens <= max(1.5 * before.tokens, before.tokens + 16)
    for shape in shapes:
        assert all(part.start is None or part.start % 4 == 0 for part in shape.parts)


def test_a_batch_is_split_where_it_must_be() -> None:
    shape = Shape(32, 4)
    rows = [np.ones(size, np.int64) for size in (16, 16, 1, 1, 1, 1, 1, 32)]
    parts = list(runs(rows, shape))
    assert parts == [slice(0, 2), slice(2, 6), slice(6, 7), slice(7, 8)]
    assert smallest(shapes_up_to(64), rows[2:7]) == Shape(48, 8)  # five rows do not fit four


def _head(files: EncoderFiles, labels: int, seed: int = 0) -> HeadWeights:
    random = np.random.default_rng([labels, seed])
    weight = random.normal(size=(labels, files.hidden)).astype(np.float32)
    return HeadWeights(weight, random.normal(size=labels).astype(np.float32), 0.5 + labels / 10)


def _projection(files: EncoderFiles, seed: int) -> Projection:
    steps = np.random.default_rng(seed).normal(size=(files.hidden, 64)).clip(-7, 7) / GRID
    return Projection(np.rint(steps) * GRID, np.full(64, 0.3))


def _featured(files: EncoderFiles, shared: Projection, count: int) -> HeadWeights:
    plain = _head(files, 4, count)
    behind = np.random.default_rng(count).normal(size=(4, count)).astype(np.float32)
    weight = np.concatenate([plain.weight, behind], axis=1)
    return replace(plain, weight=weight, features=Fourier(shared, count, 1.5))


def _best(
    encoder: TorchEncoder, rows: Rows, heads: list[HeadWeights], head_id: NDArray[np.int64]
) -> tuple[list[int], list[float]]:
    output, _ = encoder.answer(rows, heads, head_id, top_k=[1] * len(rows))
    labels = [int(ids[0]) for ids in output.indices]
    return labels, [float(best[0]) for best in output.probabilities]


def _joined(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(30)
