"""Heads, tables and batches that the tests of `grouped_head` share."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from honed_kernels.fourier import GRID, Fourier, Projection
from honed_kernels.head import HeadWeights
from honed_kernels.memory import Dense
from honed_kernels.ops.grouped_head import Scores
from honed_kernels.table import HeadTable

HIDDEN = 100  # two blocks of features, the second not full


def weights(random: np.random.Generator, labels: int, features: int) -> HeadWeights:
    """Logits of a few units, as trained heads have them."""
    weight = random.standard_normal((labels, features)) * 3 / math.sqrt(features)
    bias = random.standard_normal(labels)
    temperature = float(random.uniform(0.5, 2))
    return HeadWeights(weight.astype(np.float32), bias.astype(np.float32), temperature)


def made_table(*, max_labels: int, hidden: int = HIDDEN, **options: Any) -> HeadTable:
    """A table whose memory is NaN wherever no head is written."""
    options = {"models": 8, "slots": 8, "device": "cpu", **options}
    table = HeadTable(hidden, max_labels=max_labels, **options)
    table.bank.memory.weight.fill_(math.nan)
    table.bank.memory.bias.fill_(math.nan)
    return table


def add(table: HeadTable, head: HeadWeights, **options: Any) -> int:
    model = table.open()
    table.publish(model, table.put(head, version=100 + model, **options))
    return model


def surrounded(pooled: Tensor) -> Tensor:
    """The same rows with NaN round each."""
    rows, hidden = pooled.shape
    around = torch.full((rows + 2, hidden + 28), math.nan)
    around[1:-1, 16 : 16 + hidden] = pooled
    return around[1:-1, 16 : 16 + hidden]


def batch(*models: int, hidden: int = HIDDEN, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    head_id = torch.full((len(models) + 2,), 0, dtype=torch.int32)
    head_id[1:-1] = torch.tensor(models, dtype=torch.int32)
    return surrounded(torch.randn(len(models), hidden, generator=random)), head_id[1:-1]


def stacked(scores: Scores) -> list[Tensor]:
    measures = torch.stack((scores.margin, scores.entropy, scores.energy))
    every = [] if scores.logits is None else [scores.logits]
    return [scores.ids, scores.probabilities, measures, scores.status, scores.version, *every]


@cache
def mixed() -> tuple[HeadTable, Tensor, Tensor]:
    """37 rows: full and partial tiles of one head between rows of others, with dense layers."""
    random = np.random.default_rng(4)
    table = made_table(max_labels=70, dtype=torch.float16, front=6)
    layer = weights(random, 6, HIDDEN)
    add(table, weights(random, 70, HIDDEN))
    add(table, weights(random, 3, HIDDEN), activation="sigmoid")
    add(table, weights(random, 70, 6), front=Dense(layer.weight, layer.bias, "gelu"))
    return table, *batch(*([0] * 12 + [1, 2, -1, 0] * 6 + [2]))


def projection(random: np.random.Generator, count: int) -> Projection:
    steps = np.rint(random.standard_normal((HIDDEN, count)).clip(-7, 7) / GRID)
    return Projection(steps * GRID, random.uniform(0, 2 * math.pi, count))


@cache
def mixed_features() -> tuple[HeadTable, Tensor, Tensor]:
    """70 rows, more than one program of the layer makes: heads behind random features and not."""
    random = np.random.default_rng(5)
    shared = projection(random, 70)
    table = made_table(max_labels=70, dtype=torch.float32, front=shared)
    for labels, count, width in ((70, 70, 5.0), (3, 9, 20.0)):
        features = Fourier(shared, count, width)
        add(table, replace(weights(random, labels, HIDDEN + count), features=features))
    add(table, weights(random, 40, HIDDEN), activation="sigmoid")
    add(table, weights(random, 5, 30), front="cosine")
    return table, *batch(*([0] * 20 + [1, 2, -1, 3, 0] * 10))
