"""The checks of what learns: the loss and its gradients, sums, the analytic head's distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from honed_kernels.gpu.bench import Bench
from honed_kernels.gpu.checks import EXACT, ROUNDED, Check, host
from honed_kernels.gpu.checks_heads import DTYPES
from honed_kernels.ops.lda_scores import gaussians, lda_scores, whiten
from honed_kernels.ops.linear_cross_entropy import linear_cross_entropy
from honed_kernels.ops.rank_update import rank_update
from honed_kernels.reference import lda_scores as lda_reference
from honed_kernels.reference import rank_update as update_reference

_FEW, _MORE, _MANY = 5, 270, 1_100  # one tile of labels, some, and too many for one launch
_DOUBLE = 1e-12


def checks(bench: Bench) -> Iterator[Check]:
    """All of them."""
    for name, dtype in DTYPES.items():
        for labels in (_FEW, _MORE, _MANY):
            yield _loss(bench, f"linear_cross_entropy/c{labels}/{name}", labels, dtype)
    for reduction in ("none", "sum"):
        name = f"linear_cross_entropy/all-options-{reduction}"
        yield _loss(bench, name, _MORE, torch.float32, reduction=reduction, options=True)
    for soft in (False, True):
        yield _update(bench, f"rank_update/{'soft' if soft else 'ids'}", soft=soft)
    yield _lda(bench)


def _loss(
    bench: Bench,
    name: str,
    labels: int,
    dtype: torch.dtype,
    *,
    reduction: str = "mean",
    options: bool = False,
) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden

    def made() -> tuple[list[Tensor], Tensor, dict[str, Any]]:
        parts = [
            bench.normal(rows, hidden, dtype=dtype),
            bench.normal(labels, hidden, dtype=dtype, scale=2 / hidden**0.5),
            bench.normal(labels, dtype=dtype),
        ]
        target = bench.integers(labels, rows)
        target[::4] = -100
        chosen: dict[str, Any] = {"reduction": reduction}
        if options:
            chosen |= {
                "label_smoothing": 0.2,
                "class_weight": bench.normal(labels, seed=1).abs_(),
                "row_weight": bench.normal(rows, seed=2).abs_(),
                "teacher_logits": bench.normal(rows, labels, scale=2),
                "distillation_temperature": 2.5,
            }
        return parts, target, chosen

    def solve(change: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        parts, target, chosen = made()
        x, weight, bias = (change(part).requires_grad_() for part in parts)
        chosen = {k: change(v) if isinstance(v, Tensor) else v for k, v in chosen.items()}
        loss = linear_cross_entropy(x, weight, bias, change(target), **chosen)
        return (loss.detach(), *torch.autograd.grad(loss.sum(), (x, weight, bias)))

    return Check(name, lambda: solve(lambda t: t), lambda: solve(host), ROUNDED[dtype])


def _update(bench: Bench, name: str, *, soft: bool) -> Check:
    rows, width = bench.sizes.checked_rows, bench.sizes.checked_hidden
    labels = bench.sizes.checked_labels[0]

    def made() -> tuple[Tensor, ...]:
        targets = bench.normal(rows, labels) if soft else bench.integers(labels, rows)
        weights = bench.normal(rows, dtype=torch.float64)
        return bench.normal(rows, width), targets, weights

    def sums(device: torch.device) -> tuple[Tensor, ...]:
        shapes = ((width, width), (width, labels), (3, labels))
        return tuple(torch.ones(shape, dtype=torch.float64, device=device) for shape in shapes)

    def run() -> tuple[Tensor, ...]:
        gram, cross, counts = sums(bench.device.place)
        features, targets, weights = made()
        rank_update(gram, cross, features, targets, weights, counts=counts)
        return gram, cross, counts

    def want() -> tuple[Tensor, ...]:
        gram, cross, counts = sums(torch.device("cpu"))
        features, targets, weights = map(host, made())
        update_reference.rank_update(gram, cross, features, targets, weights, counts)
        return gram, cross, counts

    return Check(name, run, want, _DOUBLE)


def _lda(bench: Bench) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden
    labels = bench.sizes.checked_labels[0]

    def made() -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        means = host(bench.normal(labels, hidden)) + 1
        mix = host(bench.normal(hidden, hidden, scale=hidden**-0.5))
        within = mix @ mix.T + 0.1 * torch.eye(hidden, dtype=torch.float64)
        around = within + torch.cov(means.T)
        x = bench.normal(rows, hidden, seed=1) + 1
        return x, (means, whiten(within), means.mean(0) + 0.1, whiten(around))

    def run(start: int = 0) -> tuple[Tensor, ...]:
        x, parts = made()
        classes = gaussians(*[part.to(bench.device.place) for part in parts])
        scores = lda_scores(x[start:], classes)
        return scores.relative, scores.distance, scores.status

    def want() -> tuple[Tensor, ...]:
        x, parts = made()
        relative = lda_reference.relative_distance(host(x), *parts)
        distance = lda_reference.distances(host(x), *parts[:2]).amin(1)
        return relative, distance, torch.zeros(rows, dtype=torch.int32)

    # A difference of large numbers: it has fewer digits than what it is made of.
    return Check("lda_scores", run, want, 10 * EXACT, lambda: run(-1))
