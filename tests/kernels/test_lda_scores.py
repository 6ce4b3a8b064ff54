"""`lda_scores` against its specification in float64, through the door and the interpreter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.lda_scores import Gaussians, gaussians, lda_scores, whiten
from honed_kernels.reference import lda_scores as reference
from honed_kernels.status import NOT_FINITE
from honed_kernels.triton_kernels import lda_scores as kernels

NAN, INF = float("nan"), float("inf")


def model(hidden: int, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means, whitening, background mean and whitening, of correlated features."""
    random = torch.Generator().manual_seed(hidden + labels)
    mix = torch.randn(hidden, hidden, generator=random, dtype=torch.float64) / hidden**0.5
    means = torch.randn(labels, hidden, generator=random, dtype=torch.float64) + 3
    within = mix @ mix.T + 0.1 * torch.eye(hidden)
    background = within + torch.cov(torch.cat([means, means + 0.5]).T).view(hidden, hidden)
    return means, whiten(within), means.mean(0) + 0.1, whiten(background)


def rows_near(means: Tensor, rows: int) -> Tensor:
    """Rows round the means, with NaN round all that may be read."""
    random = torch.Generator().manual_seed(rows)
    around = torch.full((rows + 2, means.shape[1] + 7), NAN)
    x = around[1 : rows + 1, 4 : 4 + means.shape[1]]
    x.copy_(means[torch.arange(rows) % len(means)] + torch.randn(x.shape, generator=random))
    return x


def between(values: Tensor) -> Tensor:
    buffer = torch.full((values.numel() + 10,), NAN)
    inner = buffer[5:-5].view(values.shape)
    inner.copy_(values)
    return inner


def laid_out(parts: tuple[Tensor, Tensor, Tensor, Tensor]) -> Gaussians:
    classes = gaussians(*parts)
    return Gaussians(between(classes.centre), between(classes.matrix), between(classes.offset))


def assert_as_exact_as_pytorch(
    x: Tensor, parts: tuple[Tensor, ...], relative: Tensor, distance: Tensor
) -> None:
    """Our error is at most twice PyTorch's in float32, plus 8 rounding steps of the largest."""
    means, whitening, *_ = parts
    far = reference.distances(x.double(), means, whitening)
    steps = 8 * 2**-24 * far.max()
    want = reference.relative_distance(x.double(), *parts)
    single = tuple(part.float() for part in parts)
    error = (reference.relative_distance(x, *single) - want).abs().max()
    assert (relative - want).abs().max() <= 2 * error + steps
    error = (reference.distances(x, *single[:2]) - far).abs().max()
    assert (distance - far.amin(1)).abs().max() <= 2 * error + steps


@pytest.mark.parametrize(
    ("rows", "hidden", "labels"),
    [
        (33, 100, 65),  # second tiles of rows, lines and labels; depth not full
        (32, 64, 64),  # exact tiles
        (2, 16, 2_050),  # more blocks of lines than are added up at once
        (3, 20, 2),  # less than a tile
        (1, 1, 1),  # one of all
    ],
)
def test_agrees_with_the_reference(rows: int, hidden: int, labels: int) -> None:
    parts = model(hidden, labels)
    x = rows_near(parts[0], rows)
    got = lda_scores(x, laid_out(parts))
    assert got.relative.dtype == got.distance.dtype == torch.float32
    assert not got.status.any()
    assert_as_exact_as_pytorch(x, parts, got.relative, got.distance)
    exact = lda_scores(x.double(), gaussians(*parts, dtype=torch.float64))
    want = reference.relative_distance(x.double(), *parts)
    torch.testing.assert_close(exact.relative, want, rtol=1e-9, atol=1e-9)


def test_what_belongs_to_no_class_scores_higher() -> None:
    parts = model(32, 5)
    x = rows_near(parts[0], 10)
    stranger = parts[2].float() + 8 * torch.sin(torch.arange(32))
    scores = lda_scores(torch.cat([x, stranger[None]]), laid_out(parts)).relative
    assert scores[-1] > scores[:-1].max()


def test_a_class_mean_has_distance_zero() -> None:
    parts = model(20, 3)
    distance = lda_scores(parts[0].float(), laid_out(parts)).distance
    assert (distance >= 0).all()
    torch.testing.assert_close(distance, torch.zeros(3), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy tells of what is not finite
@pytest.mark.parametrize("poison", [NAN, INF, -INF, 1e30])  # the square of the last overflows
def test_a_row_that_is_not_finite_is_told(poison: float) -> None:
    parts = model(20, 3)
    x = rows_near(parts[0], 5)
    want = lda_scores(x, laid_out(parts))
    x[2, 7] = poison
    got = lda_scores(x, laid_out(parts))
    assert got.status.tolist() == [0, 0, NOT_FINITE, 0, 0]
    assert got.relative[2].isnan()
    assert got.distance[2].isnan()
    others = [0, 1, 3, 4]
    assert torch.equal(got.relative[others], want.relative[others])


def test_a_class_may_be_switched_off() -> None:
    parts = model(20, 3)
    x = rows_near(parts[0], 6)
    without, classes = laid_out(parts), laid_out(parts)
    without = replace(without, matrix=without.matrix[:-1], offset=without.offset[:-1])
    classes.offset[-1] = -INF
    got, want = lda_scores(x, classes), lda_scores(x, without)
    assert torch.equal(got.relative, want.relative)
    classes.offset[-3:] = -INF
    assert lda_scores(x, classes).status.tolist() == [NOT_FINITE] * 6


@pytest.mark.parametrize("poison", [NAN, INF])
def test_a_broken_class_is_not_passed_over(poison: float) -> None:
    parts = model(20, 3)
    classes = laid_out(parts)
    classes.offset[-2] = poison
    assert lda_scores(rows_near(parts[0], 2), classes).status.tolist() == [NOT_FINITE] * 2


@settings(max_examples=4, derandomize=True, deadline=None, database=None)
@given(rows=st.integers(33, 40), order=st.randoms(use_true_random=False))
def test_no_bit_depends_on_the_batch(rows: int, order: Any) -> None:
    parts = model(40, 3)
    x, classes = rows_near(parts[0], rows), laid_out(parts)
    together = lda_scores(x, classes)
    places = list(range(rows))
    order.shuffle(places)
    for part in (places, places[:1], places[1:4]):
        got = lda_scores(x[part], classes)
        assert torch.equal(got.relative, together.relative[part])
        assert torch.equal(got.distance, together.distance[part])


def check(module: ModuleType) -> None:
    """Outputs lie between canaries."""
    parts = model(70, 66)
    x, classes = rows_near(parts[0], 17), laid_out(parts)
    x[0] = parts[0].mean(0)  # below all discriminants is 0, and their maximum is less
    buffer, flags = torch.full((60,), 12345.0), torch.full((23,), 12345, dtype=torch.int32)
    relative, distance, status = buffer[5:22], buffer[30:47], flags[3:20]
    module.launch(x, classes.centre, classes.matrix, classes.offset, relative, distance, status)
    assert status.eq(0).all()
    assert_as_exact_as_pytorch(x, parts, relative, distance)
    assert buffer[[4, 22, 29, 47]].eq(12345).all()
    assert flags[[2, 20]].eq(12345).all()


def check_broken(module: ModuleType) -> None:
    parts = model(20, 66)
    classes, x = laid_out(parts), rows_near(parts[0], 2)
    classes.offset[-2] = NAN
    relative, distance, status = torch.zeros(2), torch.zeros(2), torch.zeros(2, dtype=torch.int32)
    module.launch(x, classes.centre, classes.matrix, classes.offset, relative, distance, status)
    assert status.tolist() == [NOT_FINITE] * 2


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("tl.minimum(start + LINES, hidden), hidden", "start + 32, hidden", check),
        ("found * found", "found", check),
        ("squares = (block >= each) &", "squares =", check),
        ("near - 2 * best", "near - best", check),
        ("a -= tl.load", "a += tl.load", check),
        ("tl.where((line < lines)[None, :], found", "tl.where(True, found", check),
        ("offset += which * hidden", "offset += which", check),
        ("here = row < rows\n", "here = row <= rows\n", check),
        ("inside[:, None] & (line < lines)[None, :]", "inside[:, None]", check),
        ("tl.where(wrong > 0", "tl.where(wrong > 1", check_broken),
        ("(wrong > 0) |", "(wrong > 1) |", check_broken),
    ],
)
def test_a_broken_kernel_is_caught(old: str, new: str, check: Any, tmp_path: Path) -> None:
    assert_caught(kernels, old, new, check, tmp_path)


def test_the_registered_op_keeps_its_promises() -> None:
    parts = model(8, 2)
    classes, x = laid_out(parts), rows_near(parts[0], 3)
    arguments = (x, classes.centre, classes.matrix, classes.offset)
    torch.library.opcheck(torch.ops.honed.lda_scores.default, arguments)


def test_compiles_whole() -> None:
    parts = model(8, 2)
    x, classes = rows_near(parts[0], 3), laid_out(parts)
    got = torch.compile(lda_scores, fullgraph=True, backend="aot_eager")(x, classes)
    assert torch.equal(got.relative, lda_scores(x, classes).relative)


@pytest.mark.parametrize("interpreted", [False, True])
def test_no_rows_give_no_scores(interpreted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not interpreted:
        monkeypatch.delenv("TRITON_INTERPRET")
    got = lda_scores(torch.zeros(0, 8), laid_out(model(8, 2)))
    assert got.relative.shape == got.distance.shape == got.status.shape == (0,)


def test_a_cpu_gives_the_same_bits_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    parts = model(40, 3)
    x, classes = rows_near(parts[0], 9), laid_out(parts)
    together = lda_scores(x, classes)
    assert_as_exact_as_pytorch(x, parts, together.relative, together.distance)
    for row in range(9):
        assert torch.equal(
            lda_scores(x[row : row + 1], classes).relative[0], together.relative[row]
        )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3), r"x is torch.float32 \(3,\)"),
        (torch.zeros(3, 9), r"expected float32 \(rows, 8\)"),
        (torch.zeros(3, 8).half(), "x is torch.float16"),
        (torch.zeros(3, 8).double(), "the classes torch.float32"),
        (torch.zeros(3, 8, device="meta"), "x is torch.float32 on meta"),
        (torch.zeros(8, 3).T, "call x.contiguous"),
        (torch.zeros(3, 8, requires_grad=True), "no gradient"),
    ],
)
def test_refuses_rows_that_do_not_fit(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lda_scores(x, laid_out(model(8, 2)))


def test_refuses_classes_that_do_not_fit() -> None:
    means, whitening, *background = model(8, 2)
    with pytest.raises(ValueError, match="not lower triangular"):
        gaussians(means, whitening.T, *background)
    with pytest.raises(ValueError, match=r"means are \(1, 7\), expected \(labels, 8\)"):
        gaussians(means, whitening, background[0][1:], background[1])
