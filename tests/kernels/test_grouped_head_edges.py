"""`grouped_head` on hostile numbers, at the edges of its buffers, under torch.compile; refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from head_cases import add, batch, made_table, mixed, stacked, weights
from mutants import assert_caught
from torch import Tensor

from honed_kernels.fourier import Fourier, Projection
from honed_kernels.head import HeadWeights
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.reference.heads import grouped_head_in_memory
from honed_kernels.status import NOT_FINITE
from honed_kernels.triton_kernels import grouped_head as kernels


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("logits", "temperature"),
    [
        ([1e4, -1e4, 0.0], 1.0),  # exp(1e4) overflows unless shifted
        ([-1e4, -1e4], 1.0),  # exp(-1e4) is 0
        ([3e38, -3e38, 0.0], 1.0),  # their difference overflows
        ([5.0] * 9, 1.0),  # equal
        ([0.0, -0.0, 0.0, 1e-45, -1e-45], 1.0),  # equal zeros of both signs beside denormals
        ([0.0, 1.0], 1e-300),  # temperatures that float32 cannot hold
        ([0.0, 1e4], 1e30),
        ([-math.inf, 2.0, -math.inf, 1.0], 0.5),  # labels switched off
        ([-math.inf] * 128 + [-3e38], 1.0),  # all of the first block
        ([-math.inf] * 3, 1.0),  # none left
        ([7.0], 2.0),  # one label: softmax is certain, sigmoid is not
    ],
)
def test_hostile_logits(logits: list[float], temperature: float, activation: str) -> None:
    table = made_table(max_labels=max(64, len(logits)), dtype=torch.float32, hidden=2)
    zeros = np.zeros((len(logits), 2), np.float32)
    head = HeadWeights(zeros, np.array(logits, np.float32), temperature)
    model = add(table, head, activation=activation)
    pooled, head_id = batch(model, hidden=2)
    with np.errstate(all="ignore"):
        got = grouped_head(pooled, head_id, table.bank, top_k=7, logits=True)
    want = grouped_head_in_memory(pooled.double(), head_id, table.bank.memory, 7, True)
    for g, w in zip(stacked(got), want, strict=True):
        torch.testing.assert_close(
            g.double(), w.float().double(), atol=1e-6, rtol=2e-6, equal_nan=True
        )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 3e38])
def test_a_row_that_is_not_finite_harms_no_other(poison: float, activation: str) -> None:
    random = np.random.default_rng(6)
    table = made_table(max_labels=4, dtype=torch.float32, hidden=8)
    model = add(table, weights(random, 4, 8), activation=activation)
    pooled, head_id = batch(*[model] * 3, hidden=8)
    alone = grouped_head(pooled[2:], head_id[2:], table.bank, top_k=2)
    pooled[1, 3:5] = torch.tensor([poison, -poison])
    with np.errstate(all="ignore"):
        got = grouped_head(pooled, head_id, table.bank, top_k=5)
    assert got.status.tolist() == [0, NOT_FINITE if poison != 3e38 else got.status[1].item(), 0]
    if got.status[1]:
        assert got.ids[1].tolist() == [0, 1, 2, 3, -1]
        assert got.probabilities[1, :4].isnan().all()
        assert torch.stack((got.margin, got.entropy, got.energy))[:, 1].isnan().all()
    assert torch.equal(got.probabilities[2, :2], alone.probabilities[0])
    assert torch.equal(got.energy[2:], alone.energy)


@pytest.mark.parametrize("top_k", [1, 2, 7, 16])
def test_equal_logits_come_in_label_order(top_k: int) -> None:
    table = made_table(max_labels=150, dtype=torch.float32, hidden=1)  # two blocks share plateaus
    logits = np.zeros(150, np.float32)
    logits[[9, 140, 141]], logits[20:128] = 3, -0.0
    model = add(table, HeadWeights(np.zeros((150, 1), np.float32), logits))
    head_id = torch.tensor([model], dtype=torch.int32)
    got = grouped_head(torch.ones(1, 1), head_id, table.bank, top_k=top_k)
    assert got.ids[0].tolist() == [9, 140, 141, *range(9), *range(10, 20)][:top_k]


def test_writes_nothing_round_its_outputs() -> None:
    table, pooled, head_id = mixed()
    rows, room = len(pooled), 64
    shapes = ((rows, 3), (rows, 3), (3, rows), (rows,), (rows,), (rows, 80))
    types = (torch.int32, torch.float32, torch.float32, torch.int32, torch.int64, torch.float32)
    wide = [
        torch.full((2 * room + math.prod(shape),), 77, dtype=dtype)
        for shape, dtype in zip(shapes, types, strict=True)
    ]
    out = tuple(one[room:-room].view(shape) for one, shape in zip(wide, shapes, strict=True))
    kernels.launch(pooled, head_id, table.bank.memory, out)
    want = stacked(grouped_head(pooled, head_id, table.bank, top_k=3, logits=True))
    for one, got, expected in zip(wide, out, want, strict=True):
        assert torch.equal(got, expected)
        assert (one[:room] == 77).all()
        assert (one[-room:] == 77).all()


def test_no_rows() -> None:
    table, pooled, head_id = mixed()
    got = grouped_head(pooled[:0], head_id[:0], table.bank, top_k=3, logits=True)
    assert [tuple(one.shape) for one in stacked(got)] == [
        (0, 3),
        (0, 3),
        (3, 0),
        (0,),
        (0,),
        (0, 80),
    ]


def test_registered_as_pytorch_expects() -> None:
    table, pooled, head_id = mixed()
    operator = torch.ops.honed.grouped_head.default
    for logits in (False, True):
        arguments = (pooled[:3], head_id[:3].clone(), *table.bank.memory, 2, logits)
        torch.library.opcheck(operator, arguments)


def test_compiles_without_a_break() -> None:
    table, pooled, head_id = mixed()

    def answer(pooled: Tensor, head_id: Tensor) -> Tensor:
        scores = grouped_head(pooled * 2, head_id, table.bank, top_k=2)
        return scores.probabilities.sum(1) + scores.energy

    pooled, head_id = pooled[10:20].contiguous(), head_id[10:20].contiguous()
    compiled = torch.compile(answer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(pooled, head_id), answer(pooled, head_id))


@pytest.mark.parametrize(
    ("pooled", "head_id", "top_k", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int32), 1, r"expected float32 \(rows, 2\)"),
        (torch.zeros(2, 2).half(), torch.zeros(2, dtype=torch.int32), 1, "float16"),
        (torch.zeros(2, 2).T.contiguous().T, torch.zeros(2, dtype=torch.int32), 1, "contiguous"),
        (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), 1, r"expected int32 \(2,\)"),
        (torch.zeros(2, 2), torch.zeros(3, dtype=torch.int32), 1, r"expected int32 \(2,\)"),
        (torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32)[::2], 1, "head_id is not contig"),
        (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32, device="meta"), 1, "on meta"),
        (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32), 0, "top_k is 0"),
        (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32), 17, "expected 1 to 16"),
    ],
)
def test_refuses_what_does_not_fit(
    pooled: Tensor, head_id: Tensor, top_k: int, message: str
) -> None:
    table = made_table(max_labels=2, hidden=2)
    with pytest.raises(ValueError, match=message):
        grouped_head(pooled, head_id, table.bank, top_k=top_k)


def agrees(module: ModuleType) -> None:
    """Four heads, one of two blocks of labels, two behind the cosine layer, through `launch`."""
    random = np.random.default_rng(7)
    front = Projection(np.ones((2, 3)), np.ones(3))
    table = made_table(max_labels=150, hidden=2, dtype=torch.float32, front=front)
    models = [
        add(table, weights(random, 150, 2)),
        add(table, weights(random, 3, 3), front="cosine"),
        add(table, weights(random, 3, 2), activation="sigmoid"),
        add(table, replace(weights(random, 3, 4), features=Fourier(front, 2, 0.5))),
    ]
    pooled, head_id = batch(*models[:3], models[0], models[3], hidden=2)
    memory = table.bank.memory
    want = grouped_head_in_memory(pooled.double(), head_id, memory, 5, True)
    out = tuple((one.float() if one.is_floating_point() else one).clone().zero_() for one in want)
    with np.errstate(all="ignore"):
        module.launch(pooled, head_id, memory, out)
    for g, w in zip(out, want, strict=True):
        torch.testing.assert_close(g.double(), w.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.where(named[None, :], keys_of(z, label), NO_KEY)", "keys_of(z, label)"),  # the mask
        ("tl.where(front == COSINE, made_before, 0)", "0"),  # the vector before the cosines
        ("tl.float32, bitcast=True)\n", "tl.float32, bitcast=True) * 0 + 1\n"),  # the temperature
        ("high, before, total, moment", "high, high, total, moment"),  # sums of earlier blocks
        ("+ ACTIVATION) == SIGMOID", "+ ACTIVATION) != SIGMOID"),
    ],
)
def test_a_broken_kernel_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    assert_caught(kernels, old, new, agrees, tmp_path)
