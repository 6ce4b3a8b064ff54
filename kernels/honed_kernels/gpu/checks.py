"""How one op is checked: against its specification in float64, and against itself.

Two runs must agree to the bit, and a row must have the same bits alone as in its batch. Memory is
filled with NaN first, so that what is never written, or read before it was written, shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from honed_kernels.gpu.report import Outcome

EXACT = 1e-5
"""Largest relative error of float32 sums."""

ROUNDED = {torch.float32: EXACT, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""The same where something between was rounded to a dtype: some eight of its rounding steps."""

Tensors = Sequence[Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One call of an op.

    Attributes:
        name: such as "pool/mean/bf16".
        run: the call, on the device.
        want: the same by the specification, in float64 on the CPU.
        limit: the largest relative error allowed, ||got - want|| / ||want|| for each tensor;
            integers must be equal.
        alone: the call with the last row only, for ops whose rows do not depend on each other.
    """

    name: str
    run: Callable[[], Tensors]
    want: Callable[[], Tensors]
    limit: float
    alone: Callable[[], Tensors] | None = None

    def outcome(self, *, poison: bool) -> Outcome:
        """Check it."""
        with _poisoned(poison):
            got = self.run()
            again = self.run()
            alone = None if self.alone is None else self.alone()
        error = max(_error(one, true) for one, true in zip(got, self.want(), strict=True))
        repeats = all(map(_same_bits, got, again))
        independent = alone is None or all(
            _same_bits(all_rows[-len(one) :], one) for all_rows, one in zip(got, alone, strict=True)
        )
        wrong = [
            text
            for text, holds in (
                (f"its error is {error:.3g}, allowed are {self.limit:.3g}", error <= self.limit),
                ("a second run gave other bits", repeats),
                ("a row by itself gave other bits", independent),
            )
            if not holds
        ]
        values = {
            "error": error if math.isfinite(error) else None,
            "limit": self.limit,
            "repeats": repeats,
            "alone": None if alone is None else independent,
        }
        return Outcome(values, "failed" if wrong else "done", "; ".join(wrong))


def host(tensor: Tensor) -> Tensor:
    """On the CPU, in float64 if floating."""
    return tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else tensor.dtype)


def _error(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if not want.is_floating_point():
        return 0.0 if torch.equal(host(got).to(want.dtype), want) else math.inf
    finite = want.isfinite()
    mine, theirs = host(got), want.double()
    if not torch.equal(mine[~finite].nan_to_num(), theirs[~finite].nan_to_num()):
        return math.inf
    length = float(theirs[finite].norm())
    error = float((mine - theirs)[finite].norm()) / max(length, 1e-30)
    return error if math.isfinite(error) else math.inf


def _same_bits(one: Tensor, other: Tensor) -> bool:
    plain = [tensor.detach().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*plain)


@contextmanager
def _poisoned(wanted: bool) -> Iterator[None]:
    """PyTorch fills what it allocates with NaN, and integers with their largest."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(wanted or before, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
