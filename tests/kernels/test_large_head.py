"""The head of many labels against its specification in float64, through Triton's interpreter."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.large_head import LargeScores, large_head
from honed_kernels.reference.large_head import large_head as reference
from honed_kernels.status import NOT_FINITE
from honed_kernels.triton_kernels import large_head as kernels
from honed_kernels.triton_kernels.large_head import Tile

# Small enough for the interpreter; one test runs the tiles of production.
TILE = Tile(rows=16, labels=16, depth=16, splits=2)
hostile = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy tells of what is meant
FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32


def head(
    rows: int, hidden: int, labels: int, dtype: torch.dtype = FP32
) -> tuple[Tensor, Tensor, Tensor]:
    """x, weight and bias, each followed by NaN that no one may read."""
    random = torch.Generator().manual_seed(labels)

    def embedded(*shape: int, dtype: torch.dtype) -> Tensor:
        around = torch.full((shape[0] + 3, *shape[1:]), math.nan, dtype=dtype)
        around[: shape[0]] = torch.randn(shape, generator=random)
        return around[: shape[0]]

    x, weight = embedded(rows, hidden, dtype=dtype), embedded(labels, hidden, dtype=dtype)
    return x, weight, embedded(labels, dtype=FP32)


def score(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
    top_k: int = 1,
    tile: Tile = TILE,
    module: ModuleType = kernels,
) -> LargeScores:
    """Run the kernels with a small tile, and see that nothing round the outputs was written."""
    rows, numbers = len(x), [(len(x),)] * 4
    shapes = [*[(rows, top_k)] * 2, *numbers, (rows,)]
    outputs, buffers = [], []
    for name, shape in zip(LargeScores._fields, shapes, strict=True):
        dtype = torch.int32 if name in ("ids", "status") else FP32
        buffers.append(torch.full((math.prod(shape) + 16,), -7, dtype=dtype))
        outputs.append(buffers[-1][8:-8].view(shape))
    module.launch(x, weight, bias, temperature, tuple(outputs), tile=tile)
    for buffer in buffers:
        assert (torch.cat((buffer[:8], buffer[-8:])) == -7).all()
    return LargeScores(*outputs)


def assert_right(
    got: LargeScores,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> None:
    """Labels are equal; errors are at most 4 times PyTorch's in float32, plus 8 roundings."""
    k = got.ids.shape[1]
    exact_bias = None if bias is None else bias.double()
    wide, single = (x.double(), weight.double(), exact_bias), (x.float(), weight.float(), bias)
    want = LargeScores(*reference(*wide, temperature=temperature, top_k=k))
    plain = LargeScores(*reference(*single, temperature=temperature, top_k=k))
    assert got.ids.tolist() == want.ids.tolist()
    assert got.status.tolist() == want.status.tolist()
    sound = want.status == 0
    for name in ("probabilities", "margin", "entropy", "energy", "lse"):
        ours, torchs, exact = (getattr(one, name).view(len(x), -1) for one in (got, plain, want))
        assert ours[~sound].isnan().all(), name
        error, torch_error = ((one - exact)[sound].abs() for one in (ours, torchs))
        allowed = 8 * 2**-24 * exact[sound].abs().clamp_min(1)
        if sound.any():
            allowed += 4 * torch_error.max()
        assert (error <= allowed).all(), (name, error, allowed)


def assert_same_bits(one: LargeScores, other: LargeScores) -> None:
    for name, ours, theirs in zip(LargeScores._fields, one, other, strict=True):
        assert ours.view(torch.int32).tolist() == theirs.view(torch.int32).tolist(), name


@pytest.mark.parametrize(
    ("rows", "hidden", "labels", "top_k", "dtype"),
    [
        (1, 16, 1, 1, FP32),  # one label: the margin has no second
        (17, 20, 37, 16, FP16),  # a row, columns and labels past a full tile; all 16 places
        (3, 32, 81, 5, BF16),  # two splits of three tiles; widened before any product; 8 places
        (2, 16, 32, 2, FP32),  # full tiles only; 2 places
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_agrees_with_float64(
    rows: int, hidden: int, labels: int, top_k: int, dtype: torch.dtype, temperature: float
) -> None:
    x, weight, bias = head(rows, hidden, labels, dtype)
    got = score(x, weight, bias, temperature=temperature, top_k=top_k)
    assert_right(got, x, weight, bias, temperature=temperature)
    assert ((got.entropy >= 0) & (got.entropy <= math.log(labels) + 1e-6)).all()


def test_a_hundred_thousand_labels() -> None:
    x, weight, bias = head(2, 16, 100_000)
    got = score(x, weight, bias, top_k=5, tile=Tile(16, 8_192, 16, 4))
    assert_right(got, x, weight, bias)


# Each column of weights is the logits of one row: 20 labels, in three tiles and two splits.
HOSTILE = {
    "equal": [0.0] * 20,
    "tie across tiles and splits": [1.0, *[2.0] * 18, 1.0],
    "exp overflows": [1e4 * sign for sign in (1, -1) * 10],
    "exp of all underflows": [-1e4 - i for i in range(20)],
    "the spread overflows float32": [3e38, *[-3e38] * 18, 0.0],
    "denormal": [i * 1e-45 for i in range(20)],
    "rising, so each tile displaces all": [float(i) for i in range(20)],
    "the best comes last": [-1e5] * 19 + [1e5],
}


@pytest.mark.parametrize("temperature", [1e-30, 1.0, 1e30])
@hostile
def test_hostile_logits(temperature: float) -> None:
    weight = torch.tensor(list(HOSTILE.values())).T.contiguous()
    got = score(torch.eye(8), weight, temperature=temperature, top_k=8)
    for row in range(8):
        alone = LargeScores(*(scores[row : row + 1] for scores in got))
        assert_right(alone, torch.eye(8)[row : row + 1], weight, temperature=temperature)
    assert got.status.tolist() == [0] * 8
    assert all(scores.isfinite().all() for scores in got[1:5])
    assert got.ids[0].tolist() == [*range(8)]
    assert got.ids[1].tolist() == [*range(1, 9)]


def test_minus_zero_ties_with_zero() -> None:
    """Odd labels get -0 from the bias, and on hardware that starts a sum without 0 from it too."""
    signs = torch.tensor([0.0, -0.0] * 10)
    got = score(torch.full((1, 16), -0.0), signs[:, None].repeat(1, 16), signs, top_k=8)
    assert got.ids.tolist() == [[*range(8)]]


def test_labels_switched_off_come_last_in_their_order() -> None:
    x, weight, bias = head(2, 16, 20)
    bias[:] = -math.inf
    bias[[3, 18]] = 0.0
    got = score(x, weight, bias, top_k=5)
    assert_right(got, x, weight, bias)
    assert got.status.tolist() == [0, 0]
    assert got.ids[:, 2:].tolist() == [[0, 1, 2]] * 2
    assert got.probabilities[:, 2:].tolist() == [[0.0] * 3] * 2


@hostile
@pytest.mark.parametrize(
    ("label", "logit"),
    [
        (0, math.nan),
        (19, math.nan),  # in the last tile, far below the best of another split
        (3, math.inf),
        (None, -math.inf),  # all labels are off
    ],
)
def test_not_finite(label: int | None, logit: float) -> None:
    x, weight, bias = head(2, 16, 20)
    bias[1] += 1e4
    bias[slice(None) if label is None else label] = logit
    got = score(x, weight, bias, top_k=3)
    assert got.status.tolist() == [NOT_FINITE] * 2
    assert got.ids.tolist() == [[0, 1, 2]] * 2
    assert all(scores.isnan().all() for scores in got[1:6])
    assert_right(got, x, weight, bias)


@hostile
def test_a_broken_row_leaves_its_neighbours_alone() -> None:
    x, weight, bias = head(3, 16, 20)
    alone = score(x[2:], weight, bias, top_k=3)
    x[0], x[1, 5] = math.nan, math.inf
    got = score(x, weight, bias, top_k=3)
    assert got.status.tolist() == [NOT_FINITE, NOT_FINITE, 0]
    assert_same_bits(LargeScores(*(scores[2:] for scores in got)), alone)


@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(order=st.permutations(range(18)), cut=st.integers(0, 18))
def test_no_bit_depends_on_the_batch(order: list[int], cut: int) -> None:
    x, weight, bias = head(18, 20, 37, FP16)
    whole = score(x, weight, bias, top_k=3)
    shuffled = x[order]
    parts = [score(part, weight, bias, top_k=3) for part in (shuffled[:cut], shuffled[cut:])]
    merged = LargeScores(*(torch.cat(pair) for pair in zip(*parts, strict=True)))
    assert_same_bits(LargeScores(*(scores[order] for scores in whole)), merged)


def test_the_tiles_of_production() -> None:
    """67 rows and 130 labels: each second tile is nearly empty. x is rounded once, and copied."""
    x, weight, bias = head(67, 24, 130, BF16)
    wide = torch.full((67, 50), math.nan)
    wide[:, :24] = x.float() * (1 + 1e-5)
    got = large_head(wide[:, :24], weight, bias, top_k=3)
    assert_right(got, x, weight, bias)
    last = large_head(x[66:], weight, bias, top_k=3)
    assert_same_bits(LargeScores(*(scores[66:] for scores in got)), last)


def test_no_rows() -> None:
    got = large_head(torch.zeros(0, 16), torch.zeros(20, 16), top_k=3)
    assert [tuple(scores.shape) for scores in got] == [(0, 3), (0, 3), *[(0,)] * 5]


def test_torch_knows_the_op() -> None:
    x, weight, bias = head(2, 16, 20)
    torch.library.opcheck(torch.ops.honed.large_head, (x, weight, bias, 1.0, 2))
    torch.library.opcheck(torch.ops.honed.large_head, (x.half(), weight, None, 1.0, 2))


def test_compiles_as_one_graph() -> None:
    x, weight, bias = head(2, 16, 20)

    def best(x: Tensor) -> tuple[Tensor, Tensor]:
        scores = large_head(x, weight, bias, temperature=2.0, top_k=2)
        return scores.ids + 1, scores.probabilities

    ids, probabilities = torch.compile(best, fullgraph=True, backend="aot_eager")(x)
    eager_ids, eager_probabilities = best(x)
    assert torch.equal(ids, eager_ids)
    assert torch.equal(probabilities, eager_probabilities)


def test_without_triton_the_reference_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    x, weight, bias = head(5, 16, 300, BF16)
    got = large_head(x.float(), weight, bias, temperature=2.0, top_k=3)
    want = reference(x, weight, bias, temperature=2.0, top_k=3)
    assert_same_bits(got, LargeScores(*want))
    last = large_head(x[4:], weight, bias, temperature=2.0, top_k=3)
    assert_same_bits(LargeScores(*(scores[4:] for scores in got)), last)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 15)}, "do not match"),
        ({"weight": torch.zeros(0, 16)}, "do not match"),
        ({"x": torch.zeros(2, 16, dtype=torch.float64)}, "float64"),
        ({"weight": torch.zeros(20, 16, dtype=torch.int8)}, "int8"),
        ({"weight": torch.zeros(16, 20).T}, "contiguous"),
        ({"bias": torch.zeros(40)[::2]}, "contiguous"),
        ({"bias": torch.zeros(19)}, r"expected float32 \(20,\)"),
        ({"bias": torch.zeros(20, dtype=BF16)}, "bfloat16"),
        ({"bias": torch.zeros(20, device="meta")}, "one device"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 17}, "1 to 16"),
        ({"top_k": 3, "weight": torch.zeros(2, 16), "bias": None}, "1 to 2"),
    ],
)
def test_refuses_what_does_not_fit(changed: dict[str, object], message: str) -> None:
    sound = {"x": torch.zeros(2, 16), "weight": torch.zeros(20, 16), "bias": torch.zeros(20)}
    with pytest.raises(ValueError, match=message):
        large_head(**{**sound, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # The end of the labels is not masked: the last one is counted again.
        ("tl.where(label < labels, offset, float(\"-inf\"))[None, :]", "offset[None, :]"),
        # The end of a row of weights is not masked.
        ("mask=inside[:, None], other=0.0)", "mask=inside[:, None] | True)"),
        # The temperature is forgotten in the scan.
        ("gap = (logit - anchor[:, None]) * scale", "gap = (logit - anchor[:, None]) * 1.4427"),
        # A rising maximum does not shrink what was summed before.
        ("return higher, shrink * total +", "return higher, total +"),
        # The entropy forgets that the gaps moved.
        ("tl.where(shrink > 0, back, 0.0) * total)\n    tilt +=", "0.0 * total)\n    tilt +="),
        # Of equal labels the last in a tile comes first.
        ("tl.min(tl.where(rank == lead[:, None], column, rank.shape[1]), 1)",
         "tl.max(tl.where(rank == lead[:, None], column, -1), 1)"),
        # Splits are added as if all had the same maximum.
        ("total = tl.sum(shrink * total, 0)", "total = tl.sum(total, 0)"),
        ("lead = tl.max(rank, 1)\n", "lead = tl.min(rank, 1)\n"),  # one label a tile is enough
    ],
)  # fmt: skip
def test_a_broken_kernel_is_caught(old: str, new: str, tmp_path: Path) -> None:
    def check(module: ModuleType) -> None:
        x, weight, bias = head(2, 20, 70)
        weight[16:34], bias[16:34] = 0.7 * x[0], 0.0  # the first row's best: ties across tiles
        got = score(x, weight, bias, temperature=0.5, top_k=4, module=module)
        assert_right(got, x, weight, bias, temperature=0.5)

    assert_caught(kernels, old, new, check, tmp_path)
