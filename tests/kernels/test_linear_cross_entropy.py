"""`linear_cross_entropy` against PyTorch in float64, through the door and Triton's interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.linear_cross_entropy import linear_cross_entropy
from honed_kernels.reference.linear_cross_entropy import Objective
from honed_kernels.triton_kernels import (
    cross_entropy,
    cross_entropy_plan,
    cross_entropy_products,
    cross_entropy_sums,
    cross_entropy_tile,
)
from honed_kernels.triton_kernels import linear_cross_entropy as launches
from honed_kernels.triton_kernels.cross_entropy_plan import Forward, Step, allocate

FP16, BF16, FP32, FP64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
NAN, INF = math.nan, math.inf
OPTIONS = ("soft", "smooth", "class", "row", "teach")


# A GPU does not tell of the infinities and NaN that kernels make and then mask; NumPy does.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@dataclass(frozen=True)
class Problem:
    """Arguments of the op: `head` is x, weight and bias."""

    head: tuple[Tensor, ...]
    target: Tensor
    options: dict[str, Any]
    upstream: Tensor

    def to(self, dtype: torch.dtype) -> Problem:
        def cast(value: Any) -> Any:
            floating = isinstance(value, Tensor) and value.is_floating_point()
            return value.detach().to(dtype) if floating else value

        options = {name: cast(value) for name, value in self.options.items()}
        head = tuple(cast(tensor) for tensor in self.head)
        return Problem(head, cast(self.target), options, cast(self.upstream))


def problem(
    rows: int,
    hidden: int,
    labels: int,
    dtype: torch.dtype = FP32,
    chosen: tuple[str, ...] = (),
    reduction: str = "mean",
    *,
    bias: bool = True,
) -> Problem:
    """Random, with ignored rows, and NaN round all that one may read."""
    random = torch.Generator().manual_seed(rows + labels)

    def embedded(*shape: int, dtype: torch.dtype = FP32, scale: float = 1.0) -> Tensor:
        around = torch.full((shape[0] + 2, *shape[1:]), NAN, dtype=dtype)
        around[1:-1] = torch.randn(shape, generator=random) * scale
        return around[1:-1]

    x = embedded(rows, hidden + 3, dtype=dtype)[:, :hidden]
    weight = embedded(labels, hidden, dtype=dtype, scale=2 / math.sqrt(hidden))
    target = torch.randint(labels, (rows,), generator=random)
    target[::4] = -100
    options: dict[str, Any] = {"reduction": reduction}
    if "soft" in chosen:
        target = embedded(rows, labels)
        target.copy_(target.softmax(1))
    if "smooth" in chosen:
        options["label_smoothing"] = 0.2
    if "class" in chosen:
        options["class_weight"] = embedded(labels).abs_()
    if "row" in chosen:
        options["row_weight"] = embedded(rows).abs_()
        options["row_weight"][:2] = 0
    if "teach" in chosen:
        options["teacher_logits"] = embedded(rows, labels, scale=3.0)
        options |= {"distillation_weight": 0.7, "distillation_temperature": 2.5}
    head = (x, weight, embedded(labels, dtype=dtype)) if bias else (x, weight)
    upstream = torch.randn(rows if reduction == "none" else (), generator=random)
    return Problem(head, target, options, upstream)


def solve(given: Problem, call: Any = linear_cross_entropy) -> list[Tensor]:
    """The loss and the gradients of x, weight and bias."""
    head = [tensor.detach().requires_grad_() for tensor in given.head]
    loss = call(*head[:2], head[2] if len(head) > 2 else None, given.target, **given.options)
    return [loss.detach(), *torch.autograd.grad(loss, head, given.upstream.to(loss.dtype))]


def pytorch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    *,
    class_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    label_smoothing: float = 0.0,
    distillation_weight: float = 0.0,
    distillation_temperature: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """The same loss of PyTorch's own parts, in any dtype."""
    logits = F.linear(x, weight, bias)
    losses = F.cross_entropy(
        logits, target, class_weight, label_smoothing=label_smoothing, reduction="none"
    )
    counts = torch.ones_like(losses) if target.is_floating_point() else (target != -100).to(x.dtype)
    if teacher_logits is not None:
        student, teacher = (z / distillation_temperature for z in (logits, teacher_logits))
        student, teacher = student.log_softmax(1), teacher.log_softmax(1)
        apart = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        losses = losses + counts * distillation_weight * distillation_temperature**2 * apart
    share = counts
    if class_weight is not None and not target.is_floating_point():
        share = share * class_weight[target.clamp_min(0)]
    if row_weight is not None:
        losses, share = losses * row_weight, share * row_weight
    if reduction == "none":
        return losses
    return losses.sum() / share.sum() if reduction == "mean" else losses.sum()


def assert_as_exact_as_pytorch(given: Problem, got: list[Tensor]) -> None:
    """Our errors are at most twice those of PyTorch in this dtype, plus 4 roundings of the largest.

    The loss is float32 whatever the dtype, so it is held to float32.
    """
    exact = solve(given.to(FP64), pytorch)
    dtypes = [FP32] + [given.head[0].dtype] * len(given.head)
    for index, (dtype, value, want) in enumerate(zip(dtypes, got, exact, strict=True)):
        plain = solve(given.to(dtype), pytorch)[index]
        allowed = 2 * (plain - want).abs().max() + 4 * torch.finfo(dtype).eps * want.abs().max()
        assert value.dtype == dtype
        assert value.shape == want.shape
        assert (value - want).abs().max() <= allowed, f"result {index}"


def subsets() -> list[tuple[str, ...]]:
    return [
        tuple(name for name, take in zip(OPTIONS, bits, strict=True) if take)
        for bits in product((False, True), repeat=len(OPTIONS))
    ]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_reference_is_pytorch_for_every_combination(reduction: str, bias: bool) -> None:
    for chosen in subsets():
        given = problem(9, 4, 5, FP64, chosen, reduction, bias=bias).to(FP64)
        torch.testing.assert_close(solve(given), solve(given, pytorch), msg=str(chosen))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_every_combination_on_the_kernels(reduction: str) -> None:
    for chosen in subsets()[:: 1 if reduction == "mean" else 3]:
        given = problem(5, 8, 3, FP32, chosen, reduction)
        assert_as_exact_as_pytorch(given, solve(given))


@pytest.mark.parametrize(
    ("rows", "hidden", "labels", "dtype", "chosen", "reduction"),
    [
        (33, 130, 32, BF16, (), "mean"),  # a full tile of labels, columns and rows past a tile
        (17, 64, 40, FP16, ("smooth", "class"), "mean"),  # columns fill their tile: no masks
        (18, 40, 77, BF16, ("soft", "teach", "row"), "sum"),  # the tile of 128 labels
        (16, 48, 150, BF16, ("smooth",), "mean"),  # the widest tile
        (5, 7, 1, FP32, ("teach",), "mean"),  # one label: no loss but the rounding
        (1, 33, 2, FP16, (), "sum"),  # one row, with any stride
        (70, 8, 3, FP32, ("row",), "mean"),  # several tiles of rows
        (19, 40, 20, BF16, ("teach", "row"), "none"),  # logits made again, in one tile
        (17, 24, 260, FP32, ("class", "smooth"), "mean"),  # several tiles, merged
        (20, 40, 1030, FP16, ("teach", "soft"), "mean"),  # the gradient of x in partial sums
        (70, 40, 1030, BF16, ("class",), "none"),  # and two tiles of rows
    ],
)
def test_agrees_with_pytorch(
    rows: int,
    hidden: int,
    labels: int,
    dtype: torch.dtype,
    chosen: tuple[str, ...],
    reduction: str,
) -> None:
    given = problem(rows, hidden, labels, dtype, chosen, reduction, bias=labels != 32)
    given = replace(given, target=given.target.nan_to_num(0)) if rows == 1 else given
    if rows == 1:
        given.target.fill_(1)
    assert_as_exact_as_pytorch(given, solve(given))


def cut_small(patch: pytest.MonkeyPatch) -> None:
    """Cut small problems into as many pieces as large ones."""
    patch.setattr(launches, "FINISH_BLOCK", 16)
    patch.setattr(cross_entropy_plan, "_ROOM", 1)
    patch.setattr(cross_entropy_plan, "_ROWS_A_SPLIT", 8)


@pytest.mark.parametrize(("labels", "reduction"), [(5, "mean"), (260, "none"), (1030, "sum")])
def test_a_row_does_not_depend_on_the_cut(
    labels: int, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(18, 8, labels, FP32, ("smooth", "row"), reduction)
    whole = solve(given)
    cut_small(monkeypatch)
    pieces = solve(given)
    assert torch.equal(pieces[1], whole[1])
    torch.testing.assert_close(pieces, whole)


def test_equals_the_linear_cross_entropy_of_pytorch() -> None:
    theirs = getattr(F, "linear_cross_entropy", None)
    if theirs is None:
        pytest.skip("PyTorch is older than 2.13")
    given = problem(9, 4, 5, FP64, ("smooth", "class")).to(FP64)
    options = {"weight": given.options["class_weight"], "label_smoothing": 0.2}

    def call(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, **_: Any) -> Tensor:
        loss: Tensor = theirs(x, weight, target, linear_bias=bias, **options)
        return loss

    torch.testing.assert_close(solve(given), solve(given, call))


BOTH = pytest.mark.parametrize(
    "form",
    [(FP32, "mean", 5), (FP32, "none", 5), (FP64, "mean", 5), (FP32, "sum", 300)],
    ids=["one pass", "again", "reference", "tiles"],
)
Shape = tuple[torch.dtype, str, int]


@BOTH
def test_a_row_that_does_not_count_may_hold_anything(form: Shape) -> None:
    dtype, reduction, labels = form
    given = problem(9, 4, labels, dtype, ("row", "teach"), reduction)
    gone = (given.target == -100) | (given.options["row_weight"] == 0)
    assert 0 < gone.sum() < 9
    spoiled = problem(9, 4, labels, dtype, ("row", "teach"), reduction)
    spoiled.head[0][gone] = NAN
    spoiled.options["teacher_logits"][gone] = NAN
    want, got = solve(given), solve(spoiled)
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert not got[1][gone].any()


@BOTH
@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_that_counts_has_no_loss(form: Shape, rows: int) -> None:
    dtype, reduction, labels = form
    given = problem(rows, 4, labels, dtype, ("class", "smooth"), reduction)
    given.target.fill_(-100)
    for value in solve(given):
        assert not value.any()
    # A mean of class weights that are all 0.
    if rows and reduction == "mean":
        given = problem(rows, 4, labels, dtype, ("class",), reduction)
        given.options["class_weight"].zero_()
        assert all(not value.any() for value in solve(given))


@BOTH
@pytest.mark.parametrize(
    ("logits", "target"),
    [
        ([0.0, -INF, 1.0], 2),  # a label that is off costs nothing
        ([0.0, -INF, 1.0], 1),  # unless it is the target: an infinite loss, a finite gradient
        ([-INF, -INF, -INF], 1),
        ([0.0, NAN, 1.0], 2),
        ([0.0, INF, 1.0], 1),
        ([1e30, -1e30, 1e30], 0),
        ([1e4, 1e4 + 1, 1e4 - 1], 1),  # nothing is lost to the size of the logits
        ([0.0, 0.0, 1.0], 7),  # out of range: NaN
        ([0.0, 0.0, 1.0], -1),
    ],
)
def test_hostile_logits(form: Shape, logits: list[float], target: int) -> None:
    dtype, reduction, _ = form
    x, weight = torch.zeros(1, 2, dtype=dtype), torch.zeros(3, 2, dtype=dtype)
    bias, targets = torch.tensor(logits, dtype=dtype), torch.tensor([target])
    upstream = torch.ones(1 if reduction == "none" else ())
    loss, *grads = solve(Problem((x, weight, bias), targets, {"reduction": reduction}, upstream))
    exact = bias.double().requires_grad_()
    if 0 <= target < 3:
        want = F.cross_entropy(exact[None], targets)
        (gradient,) = torch.autograd.grad(want, exact)
    else:
        want, gradient = torch.tensor(NAN), torch.full((3,), NAN)
    torch.testing.assert_close(
        loss.double().reshape(()), want.detach().double(), equal_nan=True, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        grads[2].double(), gradient.double(), equal_nan=True, rtol=1e-4, atol=1e-6
    )


@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_row_does_not_depend_on_its_batch(data: st.DataObject) -> None:
    labels = data.draw(st.sampled_from([6, 270]))
    dtype = data.draw(st.sampled_from([FP32, FP16]))
    given = problem(18, 20, labels, dtype, ("teach", "row"), "none")
    loss, grad_x, *_ = solve(given)
    kept = torch.tensor(data.draw(st.permutations(range(18)))[: data.draw(st.integers(1, 18))])
    options = dict(given.options)
    for name in ("row_weight", "teacher_logits"):
        options[name] = options[name][kept]
    head = (given.head[0][kept], *given.head[1:])
    part = solve(Problem(head, given.target[kept], options, given.upstream[kept]))
    assert torch.equal(part[0], loss[kept])
    assert torch.equal(part[1], grad_x[kept])


@BOTH
def test_a_second_backward_pass_repeats_the_first(form: Shape) -> None:
    dtype, reduction, labels = form
    given = problem(5, 4, labels, dtype, ("teach",), reduction)
    head = [tensor.detach().requires_grad_() for tensor in given.head]
    loss = linear_cross_entropy(head[0], head[1], head[2], given.target, **given.options)
    upstream = given.upstream.to(loss.dtype)
    first = torch.autograd.grad(loss, head, upstream, retain_graph=True)
    second = torch.autograd.grad(loss, head, upstream * 2)
    torch.testing.assert_close([2 * grad for grad in first], list(second))


@BOTH
def test_only_what_needs_a_gradient_has_one(form: Shape) -> None:
    dtype, reduction, labels = form
    given = problem(5, 4, labels, dtype, (), reduction)
    want = solve(given)
    for names in ([0], [1, 2]):
        head = [tensor.detach() for tensor in given.head]
        leaves = [head[name].requires_grad_() for name in names]
        loss = linear_cross_entropy(head[0], head[1], head[2], given.target, **given.options)
        loss.backward(given.upstream.to(loss.dtype))
        for name, tensor in enumerate(head):
            assert (tensor.grad is not None) == (name in names)
        torch.testing.assert_close(loss.detach(), want[0], rtol=0, atol=0)
        for name, leaf in zip(names, leaves, strict=True):
            torch.testing.assert_close(leaf.grad, want[1 + name])
    with torch.no_grad():
        loss = linear_cross_entropy(*given.head[:2], given.head[2], given.target, **given.options)
    torch.testing.assert_close(loss, want[0])
    assert not loss.requires_grad


def guarded(like: Tensor, buffers: list[Tensor]) -> Tensor:
    """Room of the same shape, NaN to begin with, between numbers that no one may touch."""
    buffer = torch.full((like.numel() + 16,), -7.0, dtype=like.dtype)
    buffers.append(buffer)
    room: Tensor = buffer[8 : 8 + like.numel()].view(like.shape)
    return room.fill_(NAN)


@pytest.mark.parametrize(("labels", "reduction"), [(5, "mean"), (5, "none"), (270, "sum")])
def test_writes_its_outputs_whole_and_nothing_else(labels: int, reduction: str) -> None:
    given = problem(18, 20, labels, FP32, ("teach",), reduction)
    x, weight, bias = given.head
    objective = Objective(
        given.target, None, None, given.options["teacher_logits"], 0.0, -100, 0.7, 2.5, reduction
    )
    step = Step(x, weight.contiguous(), bias, objective, need_x=True, need_weight=True)
    buffers: list[Tensor] = []
    made = Forward(*(guarded(one, buffers) for one in allocate(step)))
    launches.forward(step, made)
    grads = guarded(x, buffers), guarded(weight, buffers), guarded(bias, buffers)
    launches.backward(given.upstream, step, made, grads)
    torch.testing.assert_close([made.loss, *grads], solve(given), rtol=0, atol=0)
    for buffer in buffers:
        assert (buffer[:8] == -7).all()
        assert (buffer[-8:] == -7).all()


@pytest.mark.parametrize("chosen", [(), OPTIONS, ("class", "smooth", "row", "teach")])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradients_of_the_reference(reduction: str, chosen: tuple[str, ...]) -> None:
    given = problem(4, 3, 3, FP64, chosen, reduction).to(FP64)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, bias, given.target, **given.options)

    assert torch.autograd.gradcheck(run, [one.clone().requires_grad_() for one in given.head])


@pytest.mark.parametrize(
    ("chosen", "reduction", "labels"),
    [
        *(((), reduction, 5) for reduction in ("none", "mean", "sum")),
        *(((name,), "mean", 5) for name in OPTIONS),
        (OPTIONS, "none", 5),
        (("teach",), "sum", 270),
    ],
)
def test_compiles_whole_with_its_gradients(
    chosen: tuple[str, ...], reduction: str, labels: int
) -> None:
    given = problem(5, 4, labels, FP32, chosen, reduction)
    torch.compiler.reset()
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(solve(given, compiled), solve(given), rtol=0, atol=0)


@pytest.mark.parametrize(("dtype", "labels"), [(FP32, 5), (FP64, 5), (FP32, 270)])
def test_the_registered_op_keeps_its_promises(dtype: torch.dtype, labels: int) -> None:
    given = problem(5, 4, labels, dtype, ("teach",), "mean")
    x, weight, bias = (tensor.clone().requires_grad_() for tensor in given.head)
    teacher = given.options["teacher_logits"]
    numbers = (0.1, -100, 0.7, 2.5, "mean", True, True)
    torch.library.opcheck(
        torch.ops.honed.linear_cross_entropy.default,
        (x, weight, bias, given.target, None, None, teacher, *numbers),
    )


@pytest.mark.parametrize(
    ("dtype", "labels", "reduction", "needed"),
    [
        (FP32, 5, "mean", (True, True)),
        (FP32, 270, "none", (True, False)),
        (FP64, 5, "mean", (False, True)),
    ],
)
def test_its_gradient_is_an_op_that_keeps_its_promises(
    dtype: torch.dtype, labels: int, reduction: str, needed: tuple[bool, bool]
) -> None:
    """It has no gradient of its own: the inputs here ask for none."""
    given = problem(5, 4, labels, dtype, ("teach", "class"), reduction)
    x, weight, bias = (tensor.clone() for tensor in given.head)
    teacher, price = given.options["teacher_logits"], given.options["class_weight"].clone()
    numbers = (0.1, -100, 0.7, 2.5, reduction, *needed)
    arguments = (x, weight, bias, given.target, price, None, teacher, *numbers)
    loss, *kept = torch.ops.honed.linear_cross_entropy(*arguments)
    upstream = given.upstream.to(loss.dtype)
    torch.library.opcheck(
        torch.ops.honed.linear_cross_entropy_backward.default, (upstream, *arguments, kept)
    )


def test_has_no_second_derivative() -> None:
    given = problem(3, 4, 5)
    x = given.head[0].detach().requires_grad_()
    loss = linear_cross_entropy(x, given.head[1], given.head[2], given.target)
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated twice"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3)}, r"x \(3,\) and weight \(2, 4\)"),
        ({"x": torch.zeros(3, 5)}, r"x \(3, 5\) and weight"),
        ({"weight": torch.zeros(0, 4)}, "at least one label"),
        ({"bias": torch.zeros(3)}, r"bias \(3,\) must be \(2,\)"),
        ({"bias": torch.zeros(2).half()}, "torch.float16, torch.float32: cast"),
        ({"x": torch.zeros(3, 4, dtype=torch.int64)}, "cast them to one floating dtype"),
        ({"bias": torch.zeros(2, device="meta")}, "must be on cpu"),
        ({"target": torch.zeros(3, dtype=torch.int32)}, "target is torch.int32"),
        ({"target": torch.zeros(4, dtype=torch.int64)}, r"target \(4,\) must be \(3,\)"),
        ({"target": torch.zeros(3)}, r"target \(3,\) must be \(3, 2\)"),
        ({"class_weight": torch.ones(3)}, r"class_weight \(3,\) must be \(2,\)"),
        ({"class_weight": torch.ones(2, requires_grad=True)}, "detach it"),
        ({"row_weight": torch.ones(3, dtype=torch.int64)}, "row_weight is torch.int64"),
        ({"teacher_logits": torch.ones(3, 2, device="meta")}, "teacher_logits is on meta"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"distillation_temperature": 0.0}, "distillation_temperature is 0.0"),
        ({"distillation_weight": NAN}, "distillation_weight is nan"),
        ({"reduction": "max"}, "reduction 'max' must be one of"),
    ],
)
def test_refuses_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    fits = {
        "x": torch.zeros(3, 4),
        "weight": torch.zeros(2, 4),
        "bias": torch.zeros(2),
        "target": torch.zeros(3, dtype=torch.int64),
    }
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**(fits | change))


def check(*chosen: str, rows: int = 18, labels: int = 5) -> Callable[[ModuleType], None]:
    """That results agree with PyTorch when a module has the place of the original."""

    def agrees(module: ModuleType) -> None:
        with pytest.MonkeyPatch.context() as patch:
            cut_small(patch)
            for user in (cross_entropy, cross_entropy_products, cross_entropy_sums, launches):
                for name, value in vars(module).items():
                    if hasattr(user, name) and hasattr(value, "fn"):
                        patch.setattr(user, name, value)
            given = problem(rows, 8, labels, FP32, chosen)
            assert_as_exact_as_pytorch(given, solve(given))

    return agrees


TILE, MATRIX = cross_entropy_tile, cross_entropy
PRODUCTS, SUMS = cross_entropy_products, cross_entropy_sums


@pytest.mark.parametrize(
    ("module", "old", "new", "agrees"),
    [
        (TILE, "real = labels < num_labels", "real = labels <= num_labels", check()),
        (TILE, "spread = price * (smoothing / num_labels)", "spread = 0 * price", check("smooth")),
        (TILE, "counts & (label != ", "counts | (label != ", check()),
        (TILE, "temperature * temperature * apart", "temperature * apart", check("teach")),
        (MATRIX, "rows, index,", "rows, 0,", check(labels=270)),
        (PRODUCTS, "first > 0:", "first < 0:", check(labels=1030)),
        (PRODUCTS, "push + (place * width + near)", "push + near", check()),
        (SUMS, "shares += tl.where(", "shares = tl.where(", check(rows=35)),
        (SUMS, "parts += size", "parts += 0", check(rows=35)),
    ],
)
def test_a_broken_kernel_is_caught(
    module: ModuleType,
    old: str,
    new: str,
    agrees: Callable[[ModuleType], None],
    tmp_path: Path,
) -> None:
    assert_caught(module, old, new, agrees, tmp_path)
