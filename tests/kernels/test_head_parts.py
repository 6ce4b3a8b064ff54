"""The parts of the grouped head, its tiles and its scores: that a broken one is noticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from head_cases import add, made_table, surrounded, weights
from mutants import assert_caught
from torch import Tensor

from honed_kernels.head import HeadWeights
from honed_kernels.memory import Memory
from honed_kernels.reference.heads import grouped_head_in_memory
from honed_kernels.triton_kernels import grouped_head, head_front, head_tiles, label_scores


def answers_as_the_reference(
    module: ModuleType, pooled: Tensor, head_id: Tensor, memory: Memory
) -> None:
    """With the functions of a module in the place of those of the same name."""
    want = grouped_head_in_memory(pooled.double(), head_id, memory, 5, True)
    out = tuple(
        torch.full_like(one, 77, dtype=torch.float32 if one.is_floating_point() else None)
        for one in want
    )
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        for user in (grouped_head, head_front):
            for name, value in vars(module).items():
                if hasattr(user, name) and hasattr(value, "fn"):
                    patch.setattr(user, name, value)
        grouped_head.launch(pooled, head_id, memory, out)
    for got, expected in zip(out, want, strict=True):
        torch.testing.assert_close(
            got.double(), expected.double(), atol=1e-5, rtol=1e-5, equal_nan=True
        )


def rows_find_their_tiles(module: ModuleType) -> None:
    """20 rows of a head over two tiles and two scans; a number past the last; columns of NaN."""
    random = np.random.default_rng(0)
    table = made_table(max_labels=3, hidden=40, models=2, slots=2, dtype=torch.float32)
    for labels in (3, 2):
        add(table, weights(random, labels, 40))
    memory = table.bank.memory
    beyond = torch.cat([memory.pointers, torch.zeros(2, dtype=torch.int32)])
    head_id = torch.full((142,), -1, dtype=torch.int32)
    head_id[[0, 3]], head_id[5], head_id[[2, 4, *range(124, 142)]] = 1, 2, 0
    pooled = torch.randn(142, 40, generator=torch.Generator().manual_seed(0))
    around = memory._replace(pointers=beyond[:2])
    answers_as_the_reference(module, surrounded(pooled), head_id, around)


def tiles_stay_in_their_span(module: ModuleType) -> None:
    table = made_table(max_labels=2, hidden=2, models=1, slots=2, dtype=torch.float32)
    add(table, weights(np.random.default_rng(1), 2, 2))
    head_id = torch.full((1_026,), -1, dtype=torch.int32)
    head_id[[1_020, 1_023, 1_024, 1_025]] = 0
    pooled = torch.randn(1_026, 2, generator=torch.Generator().manual_seed(0))
    answers_as_the_reference(module, pooled, head_id, table.bank.memory)


def labels_are_scored(module: ModuleType) -> None:
    """Blocks that outdo the one before, that are off, ties, sigmoid, and a row of infinities."""
    off = np.concatenate([np.full(130, -math.inf), [2.0, -1.0, 2.0]])
    rising = np.linspace(-4, 4, 150)
    random = np.random.default_rng(2)
    table = made_table(max_labels=150, hidden=2, dtype=torch.float32)
    models = [
        *(
            add(table, HeadWeights(np.zeros((len(bias), 2), np.float32), bias.astype(np.float32)))
            for bias in (off, rising)
        ),
        add(table, weights(random, 3, 2)),
        add(table, weights(random, 3, 2), activation="sigmoid"),
    ]
    head_id = torch.tensor([*models, -1, *models[2:]], dtype=torch.int32)
    pooled = torch.randn(len(head_id), 2, generator=torch.Generator().manual_seed(0))
    pooled[-1], pooled[-2] = math.inf, math.nan
    answers_as_the_reference(module, pooled, head_id, table.bank.memory)


# No mutant may make up a row: what it writes would end outside of all tensors.
@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("known = (head >= 0) & (head < models)", "known = head >= 0", rows_find_their_tiles),
        ("mask=other < row, other", "mask=other <= row, other", rows_find_their_tiles),
        ("before += tl.sum(", "before = tl.sum(", rows_find_their_tiles),
        ("place < found", "place <= found", rows_find_their_tiles),
        ("(k < limit)", "(k < limit + 1)", rows_find_their_tiles),
        ("range(0, depth, BLOCK_K)", "range(0, depth - BLOCK_K, BLOCK_K)", rows_find_their_tiles),
        ("range(row // SPAN * SPAN, row, SCAN)", "range(0, row, SCAN)", tiles_stay_in_their_span),
    ],
)
def test_broken_tiles_are_noticed(
    old: str, new: str, check: Callable[[ModuleType], None], tmp_path: Path
) -> None:
    assert_caught(head_tiles, old, new, check, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("order ^= (order >> 31) & 0x7FFFFFFF\n    return (order", "return (order"),  # below zero
        ("keys = tl.where(keys == top, NO_KEY, keys)", "keys += 0"),  # each label once
        ("floor = tl.maximum(high, LOWEST)", "floor = high"),  # a first block that is off
        ("shrink * (moment + total * moved)", "shrink * moment"),  # a block that outdoes it
        ("e * tl.where(e > 0, d, 0.0)", "e * d"),
        ("shrink * total + tl.sum(e, 1)", "total + tl.sum(e, 1)"),
        ("surprise + tl.where(u > 0, tl.abs(t), 0.0) * u / (1.0 + u), 1)", "surprise, 1)"),
        ("tl.where(t >= 0, 1.0, u)", "tl.where(t >= 0, 1.0, 1.0)"),
        ("label = tl.where(best == NO_KEY, -1, label)", "label += 0"),
        ("free = -(high + temperature * tl.log(total))", "free = -(high + tl.log(total))"),
        ("wrong[:, None] & (place < num_labels)[None, :]", "wrong[:, None]"),
        ("tl.where(wrong, NOT_FINITE, 0)", "tl.where(wrong, 0, 0)"),
        ("place * rows, 0.0, mask=place < 3", "place * rows, 0.0, mask=place < 2"),
    ],
)
def test_broken_scores_are_noticed(old: str, new: str, tmp_path: Path) -> None:
    assert_caught(label_scores, old, new, labels_are_scored, tmp_path)
