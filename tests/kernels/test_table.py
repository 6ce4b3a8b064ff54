"""The head table through its door: versions, growth, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from fake_streams import HIDDEN, head

from honed_kernels.bank import Bank
from honed_kernels.head import HeadWeights
from honed_kernels.memory import Cosine, Dense
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.status import NO_HEAD
from honed_kernels.table import HeadTable, TableFull


def small(**options: Any) -> HeadTable:
    return HeadTable(HIDDEN, **{"device": "cpu", "slots": 2, "max_labels": 4, **options})


def test_the_next_call_reads_the_new_version_at_the_same_addresses() -> None:
    table = small()
    model, other = table.open(), table.open()
    pooled = torch.ones(2, HIDDEN)
    head_id = torch.tensor([model, other], dtype=torch.int32)
    addresses = [tensor.data_ptr() for tensor in table.bank.memory]
    seen = []
    for version in (5, 6, 7):
        assert table.publish(model, table.put(head(version, 2), version=version))
        seen += grouped_head(pooled, head_id, table.bank).version.tolist()
    assert seen == [5, 0, 6, 0, 7, 0]
    table.close(model)
    assert grouped_head(pooled, head_id, table.bank).status.tolist() == [NO_HEAD, NO_HEAD]
    assert [tensor.data_ptr() for tensor in table.bank.memory] == addresses


def test_a_bigger_bank_serves_after_the_switch_only() -> None:
    grown: list[Bank] = []
    table = small(
        on_growth=grown.append,
        front=Cosine(np.ones((HIDDEN, 5), np.float32), np.ones(5, np.float32)),
    )
    pooled, head_id = torch.ones(1, HIDDEN), torch.zeros(1, dtype=torch.int32)
    model, before = table.open(), table.bank
    table.publish(model, table.put(head(1, 4), version=1))
    wide = HeadWeights(np.ones((5, 5), np.float32), np.zeros(5, np.float32))
    assert not table.publish(model, table.put(wide, version=2, front="cosine"))
    (bank,) = grown
    assert (bank.shape.max_labels, table.bank) == (8, before)
    assert grouped_head(pooled, head_id, table.bank).version.item() == 1
    # A capture on the bank that waits reads no head, since another stream still writes it.
    assert grouped_head(pooled, head_id, bank).status.item() == NO_HEAD
    table.switch(bank)
    assert table.bank is bank
    assert grouped_head(pooled, head_id, bank).version.item() == 2
    with pytest.raises(ValueError, match="waits to serve"):
        table.switch(bank)


def test_models_get_numbers_beyond_the_first_bank() -> None:
    grown: list[Bank] = []
    table = small(models=2, on_growth=grown.append)
    assert [table.open() for _ in range(3)] == [0, 1, 2]
    assert not table.publish(2, table.put(head(1, 1), version=1))
    table.switch(grown[0])
    scores = grouped_head(torch.ones(1, HIDDEN), torch.tensor([2], dtype=torch.int32), table.bank)
    assert scores.version.item() == 1


def test_a_table_that_may_not_grow_says_so() -> None:
    table = small(models=1)
    table.open()
    with pytest.raises(TableFull, match="on_growth"):
        table.open()
    with pytest.raises(TableFull, match="8 labels"):
        table.put(head(1, 5), version=1)
    placed = [table.put(head(1, 1), version=1) for _ in range(2)]
    with pytest.raises(TableFull, match="4 slots"):
        table.put(head(1, 1), version=1)
    table.discard(placed[0])
    table.put(head(1, 1), version=1)


def test_a_head_is_published_once_and_to_an_open_number() -> None:
    table = small()
    model, placed = table.open(), table.put(head(1, 1), version=1)
    with pytest.raises(ValueError, match="number 7"):
        table.publish(7, placed)
    table.publish(model, placed)
    for again in (lambda: table.publish(model, placed), lambda: table.discard(placed)):
        with pytest.raises(ValueError, match="before"):
            again()
    with pytest.raises(ValueError, match="before"):
        small().discard(placed)
    table.close(model)
    with pytest.raises(ValueError, match="number 0"):
        table.close(model)


def test_heads_may_be_put_by_many_threads_while_one_publishes() -> None:
    table = small(slots=12)
    models = [table.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for round_of in range(25):
            jobs = [
                pool.submit(table.put, head(round_of * 4 + m, 2), version=round_of * 4 + m)
                for m in models
            ]
            for model, job in zip(models, jobs, strict=True):
                table.publish(model, job.result())
    head_id = torch.tensor(models, dtype=torch.int32)
    scores = grouped_head(torch.ones(4, HIDDEN), head_id, table.bank)
    assert scores.version.tolist() == [96, 97, 98, 99]


LAYER = Dense(np.ones((2, HIDDEN), np.float32), np.ones(2, np.float32), "tanh")
NARROW = HeadWeights(np.ones((1, 2), np.float32), np.zeros(1, np.float32))
COSINE = Cosine(np.ones((HIDDEN, 4), np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("table", "put", "message"),
    [
        ({}, {"head": NARROW}, "takes 2 features, not 3"),
        ({}, {"head": NARROW, "front": LAYER}, "no dense layers of 2; make it with front=2"),
        ({}, {"head": NARROW, "front": "cosine"}, "no cosine layer"),
        ({"front": COSINE}, {"head": NARROW, "front": LAYER}, "no dense layers"),
        ({"front": 2}, {"head": head(1, 1), "front": LAYER}, "takes 3 features, not 2"),
        ({"front": 3}, {"head": NARROW, "activation": "relu"}, "takes 2 features|softmax or"),
        ({}, {"head": head(1, 1), "activation": "relu"}, "expected softmax or sigmoid"),
        ({}, {"head": head(70_000, 1)}, "not finite in torch.float16; try bfloat16"),
        ({}, {"head": HeadWeights(NARROW.weight[:0], NARROW.bias[:0])}, "0 labels"),
        (
            {},
            {"head": HeadWeights(np.ones((1, 3), np.float32), np.float32([np.nan]))},
            "bias holds NaN",
        ),
    ],
)
def test_refuses_a_head_that_does_not_fit(
    table: dict[str, Any], put: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(**table).put(**put, version=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 1}, "slots is 1, expected at least 2"),
        ({"max_labels": 5_000}, "use large_head"),
        ({"dtype": torch.float64}, "float64"),
        ({"front": Cosine(np.ones((2, 4), np.float32), np.ones(4, np.float32))}, "projection"),
        ({"front": -1}, "size -1"),
    ],
)
def test_refuses_impossible_sizes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
