"""The layer in front of heads by itself: what it makes, and that a broken one is noticed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from head_cases import HIDDEN, add, batch, made_table, weights
from mutants import assert_caught

from honed_kernels.fourier import GRID, Fourier, Projection
from honed_kernels.memory import Dense, Front
from honed_kernels.reference.heads import in_front
from honed_kernels.triton_kernels import head_front


def makes_what_heads_read(module: ModuleType) -> None:
    random = np.random.default_rng(9)
    steps = np.rint(random.standard_normal((HIDDEN, 70)).clip(-7, 7) / GRID)
    shared = Projection(steps * GRID, random.uniform(0, 6, 70))
    table = made_table(max_labels=4, dtype=torch.float32, front=shared)
    models = [
        add(
            table, replace(weights(random, 4, HIDDEN + count), features=Fourier(shared, count, 3.0))
        )
        for count in (70, 9)
    ]
    models += [add(table, weights(random, 4, 70), front="cosine")]
    pooled, head_id = batch(*models, -1, hidden=HIDDEN)
    made = module.launch(pooled, head_id, table.bank.memory)
    before = 128  # the vector, padded
    for row, (count, width) in enumerate([(70, 3.0), (9, 3.0)]):
        want = in_front(
            pooled[row].double(), table.bank.memory, 0, Front.BESIDE, before + count, width
        )
        torch.testing.assert_close(
            made[row, : before + count].double(), want, atol=1e-5, rtol=0, check_dtype=False
        )
    want = in_front(pooled[2].double(), table.bank.memory, 0, Front.COSINE, 70, 1.0)
    assert (made[2, before : before + 70] - want).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y * narrow[:, None] +", "y +"),  # the head's own width
        ("column[None, :], x, mask", "column[None, :], 0 * x, mask"),  # the copy of the vector
        ("front >= COSINE", "front == COSINE"),  # whose rows are made
        ("feature = first - width +", "feature = first +"),  # where the features begin
    ],
)
def test_a_broken_layer_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    with np.errstate(all="ignore"):
        assert_caught(head_front, old, new, makes_what_heads_read, tmp_path)


def makes_what_dense_heads_read(module: ModuleType) -> None:
    """Two tiles of one head between rows of others, and one that reads vectors."""
    random = np.random.default_rng(10)
    table = made_table(max_labels=4, dtype=torch.float32, front=70)
    fronts: list[tuple[Front, int]] = [(Front.TANH, 70), (Front.GELU, 70), (Front.RELU, 9)]
    models = [add(table, weights(random, 4, HIDDEN))]
    for front, size in fronts:
        layer = weights(random, size, HIDDEN)
        dense = Dense(layer.weight, layer.bias, front.name.lower())
        models.append(add(table, weights(random, 4, size), front=dense))
    plain, tanh, gelu, relu = models
    pooled, head_id = batch(relu, plain, *[tanh] * 17, gelu, -1, relu, tanh, hidden=HIDDEN)
    memory = table.bank.memory
    made = module.launch(pooled, head_id, memory)
    for row, model in enumerate(head_id.tolist()):
        if model > plain:
            front, size = fronts[model - 1]
            slot = int(memory.pointers[model])
            want = in_front(pooled[row].double(), memory, slot, front, size, 1.0)
            torch.testing.assert_close(made[row, :size].double(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("at = slot * size + feature", "at = feature"),  # each head's own layer
        ("tl.where(x < 0, -tanh, tanh)", "tanh"),
        ("gelu = 0.5 * x * (1.0", "gelu = x * (1.0"),
        ("relu = tl.where(x < 0, 0.0, x)", "relu = x"),
        ("front == TANH, tanh", "front == GELU, tanh"),
        (
            "tl.store(to, _activate(y, front), mask=here[:, None])",
            "tl.store(to, _activate(y, front))",
        ),
        ("y += tl.load(bias + at, mask=named, other=0.0)[None, :]\n    to", "to"),
    ],
)
def test_a_broken_dense_layer_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    with np.errstate(all="ignore"):
        assert_caught(head_front, old, new, makes_what_dense_heads_read, tmp_path)


def test_rows_of_heads_without_a_layer_are_left_alone() -> None:
    random = np.random.default_rng(9)
    table = made_table(max_labels=4, dtype=torch.float32)
    pooled, head_id = batch(add(table, weights(random, 4, HIDDEN)), hidden=HIDDEN)
    assert head_front.launch(pooled, head_id, table.bank.memory) is pooled
    assert math.isfinite(pooled.sum())
