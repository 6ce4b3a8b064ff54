"""What every part is given: the device, the sizes, the budget, and random inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from honed_kernels.gpu.device import Device
from honed_kernels.gpu.runner import Budget
from honed_kernels.gpu.sizes import Sizes
from honed_kernels.head import HeadWeights


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device can do at most, measured.

    Attributes:
        bytes_per_s: of a large copy, read and written bytes together.
        operations_per_s: of a large matrix product, by dtype; a product and a sum are two.
        launch_us: a graph with one small kernel, as cold graphs are timed.
    """

    bytes_per_s: float
    operations_per_s: dict[torch.dtype, float]
    launch_us: float


@dataclass(eq=False)
class Bench:
    """What every part is given.

    Attributes:
        device: where kernels run.
        sizes: of all inputs.
        budget: of the run.
        dry: whether times mean nothing.
        poison: whether memory is filled with NaN before a check.
        ratios: figures that aims are judged by, by the aim's name.
    """

    device: Device
    sizes: Sizes
    budget: Budget
    dry: bool
    poison: bool = True
    ratios: dict[str, float] = field(default_factory=dict)

    @cached_property
    def ceilings(self) -> Ceilings:
        """Measured once, when they are first needed."""
        numbers, side = self.sizes.copied_numbers, self.sizes.multiplied
        source, target = self.normal(numbers), torch.empty(numbers, device=self.device.place)
        copied_us = self.device.time(lambda: target.copy_(source))
        operations = {}
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            a, b = self.normal(side, side, dtype=dtype), self.normal(side, side, dtype=dtype)
            product = torch.empty_like(a)
            spent_us = self.device.time(partial(torch.mm, a, b, out=product))
            operations[dtype] = 2e6 * side**3 / spent_us
        one = self.normal(1)
        launch_us = self.device.time(self.device.capture(lambda: one.add_(1)), cold=True)
        return Ceilings(8e6 * numbers / copied_us, operations, launch_us)

    def record(self, aim: str, value: float | None) -> None:
        """Note a figure that an aim is judged by; of several the least counts."""
        if value is not None:
            self.ratios[aim] = min(value, self.ratios.get(aim, math.inf))

    def normal(
        self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0, seed: int = 0
    ) -> Tensor:
        """Random numbers on the device, never zeros: those are faster to multiply."""
        random = torch.Generator(self.device.place).manual_seed(seed + math.prod(shape))
        made = torch.randn(shape, generator=random, device=self.device.place, dtype=dtype)
        return made.mul_(scale)

    def integers(self, below: int, size: int) -> Tensor:
        """Random int64 numbers on the device."""
        random = torch.Generator(self.device.place).manual_seed(below + size)
        return torch.randint(below, (size,), generator=random, device=self.device.place)

    def boundaries(self, lengths: Sequence[int]) -> Tensor:
        """cu_seqlens of texts with so many tokens."""
        ends = np.cumsum([0, *lengths]).astype(np.int32)
        return torch.from_numpy(ends).to(self.device.place)


def head(labels: int, features: int, seed: int = 0) -> HeadWeights:
    """A head whose logits are a few units, as trained heads' are."""
    random = np.random.default_rng([labels, features, seed])
    weight = random.standard_normal((labels, features)) * 3 / math.sqrt(features)
    bias = random.standard_normal(labels).astype(np.float32)
    return HeadWeights(weight.astype(np.float32), bias, float(random.uniform(0.5, 2)))
