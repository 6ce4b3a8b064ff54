"""`grouped_head` against its specification in float64, through the door and the interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from head_cases import (
    HIDDEN,
    add,
    batch,
    made_table,
    mixed,
    mixed_features,
    projection,
    stacked,
    surrounded,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from honed_kernels.bank import Bank
from honed_kernels.fourier import Fourier
from honed_kernels.head import HeadWeights
from honed_kernels.head import grouped_head as numpy_path
from honed_kernels.memory import Cosine, Dense
from honed_kernels.ops.grouped_head import Scores, grouped_head
from honed_kernels.reference.heads import grouped_head_in_memory
from honed_kernels.status import NO_HEAD
from honed_kernels.table import HeadTable


def assert_as_exact_as_pytorch(pooled: Tensor, head_id: Tensor, bank: Bank, got: Scores) -> None:
    """Each error is at most twice that of float32 PyTorch on inputs in the dtype of the weights.

    To it come 16 rounding steps of float32 of the greatest value: the order of sums differs.
    """
    memory, top_k, logits = bank.memory, got.ids.shape[1], got.logits is not None
    want = grouped_head_in_memory(pooled.double(), head_id, memory, top_k, logits)
    rounded = pooled.to(memory.weight.dtype).float()
    plain = grouped_head_in_memory(rounded, head_id, memory, top_k, logits)
    for name, g, w, p in zip(Scores.__slots__, stacked(got), want, plain, strict=False):
        if not w.is_floating_point():
            assert torch.equal(g, w), name
            continue
        finite = w.isfinite()
        assert torch.equal(g[~finite], w[~finite].float()), name
        allowed = 2 * (p - w)[finite].abs().max() + 16 * 2**-24 * w[finite].abs().max().clip(1)
        assert (g - w)[finite].abs().max() <= allowed, name


@pytest.mark.parametrize(
    ("dtype", "max_labels", "counts"),
    [
        (torch.float16, 64, (2, 64, 1)),  # one tile of the smallest form, full, and one label
        (torch.float32, 77, (77, 3, 16)),  # less than the one tile of IEEE float32
        (torch.bfloat16, 300, (150, 256, 300)),  # the widest tile; one block, full; then a second
        (torch.float32, 300, (129, 300, 128)),  # two blocks, three, and one that is full
    ],
)
def test_agrees_with_the_reference(
    dtype: torch.dtype, max_labels: int, counts: Sequence[int]
) -> None:
    random = np.random.default_rng(max_labels)
    table = made_table(max_labels=max_labels, dtype=dtype)
    models = [add(table, weights(random, labels, HIDDEN)) for labels in counts]
    models += [add(table, weights(random, counts[0], HIDDEN), activation="sigmoid")]
    pooled, head_id = batch(*models, -1, *models, 7, 8)
    got = grouped_head(pooled, head_id, table.bank, top_k=5, logits=True)
    assert_as_exact_as_pytorch(pooled, head_id, table.bank, got)
    assert got.status.tolist() == [0] * 4 + [NO_HEAD] + [0] * 4 + [NO_HEAD] * 2
    assert got.version.tolist() == [*range(100, 104), 0, *range(100, 104), 0, 0]


@pytest.mark.parametrize("hidden", [64, 1])  # one exact block of features; a single one
def test_other_widths(hidden: int) -> None:
    table = made_table(max_labels=5, hidden=hidden, dtype=torch.float16)
    model = add(table, weights(np.random.default_rng(1), 5, hidden))
    pooled, head_id = batch(model, model, hidden=hidden)
    got = grouped_head(pooled, head_id, table.bank, top_k=16)
    assert got.logits is None
    assert_as_exact_as_pytorch(pooled, head_id, table.bank, got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_cosine_layer_is_shared_by_heads_that_read_more_or_less_of_it(dtype: torch.dtype) -> None:
    random = np.random.default_rng(2)
    matrix = random.standard_normal((HIDDEN, 130)).astype(np.float32)
    phase = random.uniform(0, 2 * math.pi, 130).astype(np.float32)
    table = made_table(max_labels=40, dtype=dtype, front=Cosine(matrix, phase))
    models = [
        add(table, weights(random, 33, 130), front="cosine"),
        add(table, weights(random, 7, 50), front="cosine", activation="sigmoid"),
        add(table, weights(random, 40, HIDDEN)),  # reads the pooled vector itself
    ]
    pooled, head_id = batch(*models, -1, *models)
    got = grouped_head(pooled, head_id, table.bank, top_k=3, logits=True)
    assert_as_exact_as_pytorch(pooled, head_id, table.bank, got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_are_read_behind_the_vector(dtype: torch.dtype) -> None:
    """Heads of one projection with other widths and counts, beside all kinds that share it."""
    random = np.random.default_rng(12)
    shared = projection(random, 130)
    table = made_table(max_labels=40, dtype=dtype, front=shared)
    heads = [
        replace(weights(random, labels, HIDDEN + count), features=Fourier(shared, count, width))
        for labels, count, width in ((33, 130, 5.0), (40, 64, 20.0), (1, 1, 3.0))
    ]
    models = [
        *(add(table, head) for head in heads),
        add(table, heads[0], activation="sigmoid"),
        add(table, weights(random, 7, 50), front="cosine"),
        add(table, weights(random, 40, HIDDEN)),
    ]
    pooled, head_id = batch(*models, -1, *models)
    got = grouped_head(pooled, head_id, table.bank, top_k=3, logits=True)
    assert_as_exact_as_pytorch(pooled, head_id, table.bank, got)
    want = numpy_path(pooled[:3].numpy(), np.arange(3), heads, logits=True)
    assert got.logits is not None
    for row, (head, logits) in enumerate(zip(heads, want.logits or [], strict=True)):
        allowed = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 0.2}[dtype]
        found = got.logits[row, : len(head.bias)].numpy()
        np.testing.assert_allclose(found, logits, atol=allowed, rtol=0)
        np.testing.assert_allclose(got.energy[row], want.energy[row], atol=allowed, rtol=0)


def test_cosine_of_great_arguments() -> None:
    matrix = np.ones((1, 1), np.float32)
    table = made_table(
        max_labels=1,
        hidden=1,
        dtype=torch.float32,
        front=Cosine(matrix, np.zeros(1, np.float32)),
    )
    one = HeadWeights(np.full((1, 1), math.sqrt(0.5), np.float32), np.zeros(1, np.float32))
    model = add(table, one, front="cosine")
    x = torch.linspace(-2_000, 2_000, 40)[:, None]
    got = grouped_head(x, torch.full((40,), model, dtype=torch.int32), table.bank, logits=True)
    assert got.logits is not None
    assert (got.logits[:, :1] - x.double().cos()).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_dense_layers_are_each_heads_own(dtype: torch.dtype) -> None:
    random = np.random.default_rng(3)
    table = made_table(max_labels=9, dtype=dtype, front=70)
    models = [add(table, weights(random, 9, HIDDEN))]
    for size, activation in ((70, "tanh"), (70, "gelu"), (5, "relu")):
        layer = weights(random, size, HIDDEN)
        front = Dense(layer.weight, layer.bias, activation)
        models.append(add(table, weights(random, 9, size), front=front))
    pooled, head_id = batch(*models, *models, *reversed(models))
    got = grouped_head(pooled, head_id, table.bank, top_k=2, logits=True)
    assert_as_exact_as_pytorch(pooled, head_id, table.bank, got)


# The second is what the server has.
@pytest.mark.parametrize("case", [mixed, mixed_features], ids=["dense-fp16", "features-fp32"])
@settings(max_examples=3, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_no_bit_depends_on_the_batch(
    case: Callable[[], tuple[HeadTable, Tensor, Tensor]], data: st.DataObject
) -> None:
    table, pooled, head_id = case()
    order = data.draw(st.permutations(range(len(pooled))))
    cut = data.draw(st.integers(1, len(pooled) - 1))
    want = stacked(grouped_head(pooled, head_id, table.bank, top_k=4, logits=True))
    for rows in (order[:cut], order[cut:]):
        part = surrounded(pooled[rows])
        got = stacked(grouped_head(part, head_id[rows], table.bank, top_k=4, logits=True))
        for g, w in zip(got, want, strict=True):
            whole = w[:, rows] if w.shape[0] == 3 else w[rows]
            assert torch.equal(
                g.contiguous().view(torch.uint8), whole.contiguous().view(torch.uint8)
            )


def test_a_long_batch_forms_tiles_within_spans() -> None:
    table = made_table(max_labels=3, hidden=2, dtype=torch.float32, models=2)
    random = np.random.default_rng(5)
    models = [add(table, weights(random, 3, 2)) for _ in range(2)]
    head_id = torch.full((1_030,), -1, dtype=torch.int32)
    rows = [0, 3, 127, 128, 500, 1_022, 1_023, 1_024, 1_025, 1_029]
    head_id[rows] = torch.tensor([*models] * 5, dtype=torch.int32)
    pooled = torch.randn(1_030, 2, generator=torch.Generator().manual_seed(0))
    got = grouped_head(pooled, head_id, table.bank)
    alone = grouped_head(pooled[rows], head_id[rows], table.bank)
    for g, a in zip(stacked(got), stacked(alone), strict=True):
        assert torch.equal(g[:, rows] if len(g) == 3 else g[rows], a)
    assert (got.status == NO_HEAD).sum() == 1_030 - len(rows)
