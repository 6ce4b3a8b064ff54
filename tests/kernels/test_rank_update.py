"""`rank_update` against its specification in float64, through the door and the interpreter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.rank_update import rank_update
from honed_kernels.reference.rank_update import rank_update as reference
from honed_kernels.triton_kernels import rank_update as kernels

NAN = float("nan")
CANARY = 12345.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    features: Tensor
    targets: Tensor
    weights: Tensor | None

    def pick(self, rows: Any) -> Rows:
        weights = None if self.weights is None else self.weights[rows].contiguous()
        return Rows(self.features[rows], self.targets[rows].contiguous(), weights)


def between(values: Tensor, around: float) -> Tensor:
    """The same values, contiguous, with others before and after."""
    buffer = torch.full((values.numel() + 6,), around, dtype=values.dtype)
    inner = buffer[3:-3].view(values.shape)
    inner.copy_(values)
    return inner


def make(rows: int, width: int, labels: int, *, soft: bool = False, weighted: bool = True) -> Rows:
    """Rows with NaN round all that may be read, and weights of both signs."""
    random = torch.Generator().manual_seed(rows + width)
    around = torch.full((rows + 4, width + 9), NAN)
    features = around[1 : rows + 1, 5 : width + 5]
    features.copy_(torch.randn(rows, width, generator=random) + 2)
    targets = torch.randint(labels, (rows,), generator=random)
    if soft:
        targets = torch.randn(rows, labels, generator=random)
    weights = torch.randn(rows, generator=random, dtype=torch.float64) + 0.5
    targets = between(targets, NAN if soft else 0)
    return Rows(features, targets, between(weights, NAN) if weighted else None)


class Sums:
    """Sums that are not zero, nor symmetric, to begin with, between canaries."""

    def __init__(self, width: int, labels: int) -> None:
        random = torch.Generator().manual_seed(7)
        self.parts = [
            between(torch.randn(shape, generator=random, dtype=torch.float64), CANARY)
            for shape in ((width, width), (width, labels), (3, labels))
        ]

    def add(self, rows: Rows, *, counts: bool = True) -> Sums:
        gram, cross, number = self.parts
        rank_update(
            gram, cross, rows.features, rows.targets, rows.weights,
            counts=number if counts else None,
        )  # fmt: skip
        return self

    def specify(self, rows: Rows, *, counts: bool = True) -> Sums:
        gram, cross, number = self.parts
        reference(
            gram, cross, rows.features, rows.targets, rows.weights, number if counts else None
        )
        return self


def assert_equal_up_to_rounding(got: Sums, want: Sums, rows: Rows) -> None:
    """Within 1e-12 of the sum of all magnitudes, and the canaries unharmed."""
    weights = None if rows.weights is None else rows.weights.abs()
    targets = rows.targets.abs() if rows.targets.is_floating_point() else rows.targets
    width, labels = want.parts[1].shape
    scale = Sums(width, labels)
    for part in scale.parts:
        part.abs_()
    scale.specify(Rows(rows.features.abs(), targets, weights))
    for ours, theirs, allowed in zip(got.parts, want.parts, scale.parts, strict=True):
        assert ((ours - theirs).abs() <= 1e-12 * allowed).all()
        assert ours._base is not None
        assert ours._base[[0, 1, 2, -3, -2, -1]].eq(CANARY).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("rows", "width", "labels"),
    [
        (17, 40, 33),  # a second step of rows and second tiles of width and labels, none full
        (16, 32, 32),  # exact tiles
        (1, 1, 1),  # the first label a new model learns
    ],
)
def test_agrees_with_the_reference(
    rows: int, width: int, labels: int, soft: bool, weighted: bool
) -> None:
    given_rows = make(rows, width, labels, soft=soft, weighted=weighted)
    got = Sums(width, labels).add(given_rows)
    want = Sums(width, labels).specify(given_rows)
    assert_equal_up_to_rounding(got, want, given_rows)


def test_leaves_counts_alone_unless_asked() -> None:
    rows = make(3, 4, 5)
    got = Sums(4, 5).add(rows, counts=False)
    assert_equal_up_to_rounding(got, Sums(4, 5).specify(rows, counts=False), rows)


def test_counts_what_each_label_has() -> None:
    gram, cross, counts = torch.zeros(1, 1).double(), torch.zeros(1, 3).double(), None
    counts = torch.zeros(3, 3).double()
    targets = torch.tensor([0, 2, 0, -1, 3])  # the last two are no labels
    weights = torch.tensor([0.5, 2.0, 3.0, 9.0, 9.0]).double()
    rank_update(gram, cross, torch.ones(5, 1), targets, weights, counts=counts)
    assert gram.item() == 23.5
    assert cross.tolist() == [[3.5, 0, 2]]
    assert counts.tolist() == [[2, 0, 1], [3.5, 0, 2], [9.25, 0, 4]]
    rank_update(gram, cross, torch.ones(1, 1), targets[1:2], -weights[1:2], counts=counts)
    assert counts.tolist() == [[2, 0, 0], [3.5, 0, 0], [9.25, 0, 0]]


@pytest.mark.parametrize("soft", [False, True])
def test_negated_weights_take_out_every_bit(soft: bool) -> None:
    rows = make(19, 33, 5, soft=soft)
    assert rows.weights is not None
    gram, cross, counts = (torch.zeros_like(part) for part in Sums(33, 5).parts)
    for weights in (rows.weights, -rows.weights):
        rank_update(gram, cross, rows.features, rows.targets, weights, counts=counts)
        assert gram.any() == (weights is rows.weights)
    assert not cross.any()
    assert not counts.any()


def test_a_row_without_weight_is_not_read() -> None:
    rows = make(5, 4, 3)
    assert rows.weights is not None
    want = Sums(4, 3).add(rows.pick([0, 2, 3]))
    for soft in (False, True):
        poisoned = make(5, 4, 3)
        assert poisoned.weights is not None
        poisoned.features[[1, 4]] = NAN
        poisoned.weights[[1, 4]] = 0
        if soft:
            shares = torch.nn.functional.one_hot(poisoned.targets, 3).float()
            shares[[1, 4]] = NAN
            poisoned = replace(poisoned, targets=shares)
        assert_equal_up_to_rounding(Sums(4, 3).add(poisoned), want, rows)


@settings(max_examples=4, derandomize=True, deadline=None, database=None)
@given(cut=st.integers(0, 20), order=st.randoms(use_true_random=False), soft=st.booleans())
def test_rows_may_come_in_any_order_and_number(cut: int, order: Any, soft: bool) -> None:
    rows = make(20, 6, 4, soft=soft)
    places = list(range(20))
    order.shuffle(places)
    got = Sums(6, 4).add(rows.pick(places[:cut])).add(rows.pick(places[cut:]))
    assert_equal_up_to_rounding(got, Sums(6, 4).add(rows), rows)


def test_the_same_rows_give_the_same_bits() -> None:
    rows = make(33, 40, 3)
    for first, second in zip(Sums(40, 3).add(rows).parts, Sums(40, 3).add(rows).parts, strict=True):
        assert torch.equal(first, second)


def check(module: ModuleType) -> None:
    for soft in (False, True):
        rows = make(17, 40, 5, soft=soft)
        got = Sums(40, 5)
        gram, cross, counts = got.parts
        module.launch(gram, cross, rows.features, rows.targets, rows.weights, counts)
        assert_equal_up_to_rounding(got, Sums(40, 5).specify(rows), rows)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if left != right:", "if left == right:"),
        ("width, width, tl.trans(total))", "width, width, total)"),
        ("weight != 0, width, stride) * weight[:, None]", "weight != 0, width, stride)"),
        ("SOFT) * weight[:, None]", "SOFT)"),
        ("mask=row < rows, other=0.0", "mask=row <= rows, other=0.0"),
        ("used[:, None] & (column < width)[None, :]", "(column < width)[None, :]"),
        ("evidence * tl.abs(evidence)", "evidence * evidence"),
        ("(left == 0)", "(left >= 0)"),
        ("targets + row.to(tl.int64)[:, None] * labels", "targets + row.to(tl.int64)[:, None]"),
    ],
)
def test_a_broken_kernel_is_caught(old: str, new: str, tmp_path: Path) -> None:
    assert_caught(kernels, old, new, check, tmp_path)


def arguments() -> dict[str, Any]:
    rows, (gram, cross, counts) = make(3, 4, 5), Sums(4, 5).parts
    return {
        "gram": gram,
        "cross": cross,
        "counts": counts,
        "features": rows.features,
        "targets": rows.targets,
        "weights": rows.weights,
    }


def test_the_registered_op_keeps_its_promises() -> None:
    torch.library.opcheck(torch.ops.honed.rank_update.default, tuple(arguments().values()))


def test_compiles_whole() -> None:
    got, want = arguments(), arguments()
    torch.compile(rank_update, fullgraph=True, backend="aot_eager")(**got)
    rank_update(**want)
    for name in ("gram", "cross", "counts"):
        assert torch.equal(got[name], want[name])


def test_a_cpu_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    rows = make(5, 4, 3)
    for got, want in zip(Sums(4, 3).add(rows).parts, Sums(4, 3).specify(rows).parts, strict=True):
        assert torch.equal(got, want)


def test_no_rows_change_nothing() -> None:
    got = Sums(4, 5).add(make(3, 4, 5).pick([]))
    for part, before in zip(got.parts, Sums(4, 5).parts, strict=True):
        assert torch.equal(part, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(3)}, r"features \(3,\)"),
        ({"features": torch.zeros(3, 4).double()}, "features is torch.float64"),
        ({"features": torch.zeros(4, 3).T}, "call features.contiguous"),
        ({"gram": torch.zeros(4, 4)}, "gram is torch.float32"),
        ({"gram": torch.zeros(4, 8).double()[:, ::2]}, "gram is not contiguous"),
        ({"cross": torch.zeros(5, 5).double()}, r"cross is torch.float64 \(5, 5\)"),
        ({"targets": torch.zeros(3, dtype=torch.int32)}, "targets is torch.int32"),
        ({"targets": torch.zeros(3, 4)}, r"targets is torch.float32 \(3, 4\)"),
        ({"weights": torch.zeros(3)}, "weights is torch.float32"),
        ({"counts": torch.zeros(5).double()}, r"counts is torch.float64 \(5,\)"),
        ({"counts": torch.zeros(3, 5, device="meta").double()}, "counts is on meta"),
        ({"features": torch.zeros(3, 4, requires_grad=True)}, "features requires a gradient"),
    ],
)
def test_refuses_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_update(**(arguments() | change))
