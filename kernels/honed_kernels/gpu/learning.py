"""Times of what learns: a training step of a head; and of the ops that have no aim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from honed_kernels.gpu.bench import Bench
from honed_kernels.gpu.report import Outcome
from honed_kernels.gpu.runner import Case
from honed_kernels.gpu.timing import MODES, OURS, Absent, Maker, Way, compare, least, ratios, timed
from honed_kernels.ops.grouped_lora import grouped_lora
from honed_kernels.ops.lda_scores import Gaussians, lda_scores
from honed_kernels.ops.linear_cross_entropy import linear_cross_entropy
from honed_kernels.ops.rank_update import rank_update
from honed_kernels.reference import rank_update as update_reference

_FEW = 1_024
"""The aim is about steps with at most so many labels."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def training_cases(bench: Bench) -> Iterator[Case]:
    """Loss and gradients of a linear head."""
    for rows, hidden, labels in bench.sizes.training:
        name = f"B{rows} H{hidden} C{labels}"
        yield Case(name, partial(_training, bench, rows, hidden, labels))
    rows, hidden, labels = bench.sizes.training[-1]
    yield Case(f"memory of H{hidden} C{labels}", partial(_stored, bench, rows, hidden, labels))


def other_cases(bench: Bench) -> Iterator[Case]:
    """The ops without an aim."""
    yield Case("grouped_lora", partial(_lora, bench, *bench.sizes.lora))
    yield Case("rank_update", partial(_sums, bench, *bench.sizes.sums))
    yield Case("lda_scores", partial(_distances, bench, *bench.sizes.sums))


def _inputs(bench: Bench, rows: int, hidden: int, labels: int) -> tuple[Tensor, ...]:
    """x, weight, bias and targets."""
    return (
        bench.normal(rows, hidden, dtype=torch.bfloat16),
        bench.normal(labels, hidden, dtype=torch.bfloat16, scale=hidden**-0.5),
        bench.normal(labels, dtype=torch.bfloat16),
        bench.integers(labels, rows),
    )


def _step(bench: Bench, loss: Loss, rows: int, hidden: int, labels: int) -> Way:
    """One step: the loss, and the gradients of x, weight and bias."""
    *parts, target = _inputs(bench, rows, hidden, labels)
    x, weight, bias = (part.requires_grad_() for part in parts)

    def step() -> tuple[Tensor, ...]:
        found = loss(x, weight, bias, target)
        return found.detach(), *torch.autograd.grad(found, (x, weight, bias))

    return step


def _training(bench: Bench, rows: int, hidden: int, labels: int) -> Outcome:
    losses: dict[str, Callable[[], Loss]] = {
        OURS: lambda: linear_cross_entropy,
        "eager": lambda: _eager,
        "compiled": lambda: bench.device.compile(_eager),
        "torch": _torch,
        "torch in chunks": _torch_in_chunks,
        "liger": _liger,
    }

    def maker(load: Callable[[], Loss]) -> Maker:
        return lambda: _step(bench, load(), rows, hidden, labels)

    ways = {name: maker(load) for name, load in losses.items()}
    ways["cut cross entropy"] = partial(_cut_step, bench, rows, hidden, labels)
    numbers = rows * hidden + labels * (hidden + 1)
    # Read once and a gradient written for each; products forward, and back for x and for weight.
    times, values = compare(
        bench, ways, bytes_moved=4.0 * numbers, operations=6.0 * rows * labels * hidden
    )
    if labels <= _FEW:
        # Training is not recorded in graphs as a rule: what a call takes counts as well.
        ratio = least(ratios(times, [name for name in times if name != OURS]), MODES)
        bench.record("training_step_over_fastest", ratio)
    return timed(values)


def _stored(bench: Bench, rows: int, hidden: int, labels: int) -> Outcome:
    """How much memory a row more takes: with stored logits, at least two bytes a label."""
    small, large = (
        bench.device.peak(_step(bench, linear_cross_entropy, many, hidden, labels))
        for many in (rows // 2, rows)
    )
    if small is None or large is None:
        return Outcome({"bytes_a_row": None}, "skipped", "memory is measured on a GPU only")
    a_row = (large - small) / (rows - rows // 2)
    bench.record("bytes_of_logits_over_bytes_a_row", 2 * labels / max(a_row, 1))
    return Outcome({"bytes_a_row": a_row, "bytes_of_logits_a_row": 2 * labels})


def _eager(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight, bias).float(), target)


def _torch() -> Loss:
    if not hasattr(F, "linear_cross_entropy"):
        raise Absent(f"torch {torch.__version__} has no linear_cross_entropy")
    return lambda x, w, b, y: F.linear_cross_entropy(x, w, y, linear_bias=b)


def _torch_in_chunks() -> Loss:
    _torch()
    options = torch.nn.LinearCrossEntropyOptions()
    return lambda x, w, b, y: F.linear_cross_entropy(x, w, y, linear_bias=b, options=options)


def _liger() -> Loss:
    function = _installed(
        "liger_kernel.ops.fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction"
    )

    def loss(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        found = function.apply(x, weight, target, bias)
        first: Tensor = found[0] if isinstance(found, tuple) else found
        return first

    return loss


def _cut_step(bench: Bench, rows: int, hidden: int, labels: int) -> Way:
    """It knows no bias: a column of ones has it, and zeros keep the width a multiple of 16."""
    function = _installed("cut_cross_entropy", "linear_cross_entropy")
    x, weight, bias, target = _inputs(bench, rows, hidden, labels)
    wide = [
        F.pad(torch.cat([matrix, column], 1), (0, 15)).requires_grad_()
        for matrix, column in ((x, torch.ones_like(x[:, :1])), (weight, bias[:, None]))
    ]

    def step() -> tuple[Tensor, ...]:
        found = function(*wide, target)
        return found.detach(), *torch.autograd.grad(found, wide)

    return step


def _installed(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise Absent(str(error)) from error


def _lora(bench: Bench, tokens: int, features: int, rank: int, adapters: int) -> Outcome:
    half = torch.bfloat16
    x = bench.normal(tokens, features, dtype=half)
    base = bench.normal(tokens, features, dtype=half, seed=1)
    a = bench.normal(adapters, rank, features, dtype=half, scale=features**-0.5)
    b = bench.normal(adapters, features, rank, dtype=half, scale=0.1)
    scale = torch.ones(adapters, device=bench.device.place)
    # Sorted by adapter, which ours does not need.
    token = torch.arange(tokens, device=bench.device.place)
    adapter_id = (token * adapters // tokens).to(torch.int32)

    def batched() -> tuple[Tensor]:
        groups = x.view(adapters, -1, features)
        low = torch.bmm(groups, a.transpose(1, 2))
        return (torch.baddbmm(base.view_as(groups), low, b.transpose(1, 2)).view_as(base),)

    ways: dict[str, Maker] = {
        OURS: lambda: lambda: (grouped_lora(x, base, adapter_id, a, b, scale),),
        "padded bmm": lambda: batched,
    }
    moved = 2.0 * (3 * x.numel() + a.numel() + b.numel())
    _, values = compare(bench, ways, bytes_moved=moved, operations=4.0 * tokens * features * rank)
    return timed(values)


def _sums(bench: Bench, rows: int, width: int, labels: int) -> Outcome:
    features, targets = bench.normal(rows, width), bench.integers(labels, rows)
    gram = torch.zeros(width, width, dtype=torch.float64, device=bench.device.place)
    cross = torch.zeros(width, labels, dtype=torch.float64, device=bench.device.place)

    def ours() -> tuple[Tensor]:
        rank_update(gram, cross, features, targets)
        return (targets,)

    def plain() -> tuple[Tensor]:
        update_reference.rank_update(gram, cross, features, targets, None, None)
        return (targets,)

    ways: dict[str, Maker] = {OURS: lambda: ours, "eager": lambda: plain}
    moved = 4.0 * features.numel() + 16.0 * (gram.numel() + cross.numel())
    # In float64, which the ceiling is not about: the share of it is not to be read.
    _, values = compare(bench, ways, bytes_moved=moved, operations=0.0)
    return timed(values)


def _distances(bench: Bench, rows: int, hidden: int, labels: int) -> Outcome:
    x = bench.normal(rows, hidden)
    lines = 2 * hidden + labels
    classes = Gaussians(
        bench.normal(hidden),
        bench.normal(lines, hidden, scale=0.01 * hidden**-0.5),
        bench.normal(lines, scale=0.01),
    )

    def plain() -> tuple[Tensor]:
        found = torch.addmm(classes.offset, x - classes.centre, classes.matrix.T)
        shared, background, logits = found.tensor_split((hidden, 2 * hidden), 1)
        distance = (shared.square().sum(1) - 2 * logits.amax(1)).clamp_min(0)
        return (distance - background.square().sum(1),)

    ways: dict[str, Maker] = {
        OURS: lambda: lambda: (lda_scores(x, classes).relative,),
        "eager": lambda: plain,
    }
    moved = 4.0 * (x.numel() + classes.matrix.numel())
    # In float32 without tensor cores, which the ceiling is not about either.
    _, values = compare(bench, ways, bytes_moved=moved, operations=0.0)
    return timed(values)
