"""The head table through its door: versions, growth, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from fake_streams import HIDDEN, head
from torch.overrides import TorchFunctionMode

from honed_kernels.bank import Bank
from honed_kernels.fourier import Fourier, Projection
from honed_kernels.head import HeadWeights
from honed_kernels.head import grouped_head as numpy_path
from honed_kernels.memory import Cosine, Dense, Shape
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.staging import stage
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


def test_the_cosine_layer_comes_and_grows_with_the_heads_that_read_it() -> None:
    """What was there moves along; a table without such heads has no such memory."""
    grown: list[Bank] = []
    table = small(on_growth=grown.append, slots=4, dtype=torch.float32)
    shared = Projection(np.ones((HIDDEN, 300)), np.ones(300))
    heads = [head(3, 2), featured(shared, 5), featured(shared, 200), featured(shared, 290)]
    models = [table.open() for _ in heads]
    for model, one in zip(models, heads, strict=True):
        table.publish(model, table.put(one, version=model + 1))
    assert [bank.shape.front_size for bank in grown] == [8, 256, 300]
    assert table.bank.memory.front_weight.numel() == 0
    pooled, head_id = torch.full((4, HIDDEN), 0.3), torch.tensor(models, dtype=torch.int32)
    for place, bank in enumerate(grown):
        table.switch(bank)
        got = grouped_head(pooled, head_id, table.bank, logits=True)
        assert got.version.tolist() == [1, 2, 3, 4][: place + 2] + [0] * (2 - place)
        want = numpy_path(pooled.numpy(), np.arange(4), heads, logits=True)
        assert got.logits is not None
        for row in range(place + 2):
            np.testing.assert_allclose(
                got.logits[row, :2].numpy(), (want.logits or [])[row], rtol=1e-5
            )


def test_features_of_another_projection_are_not_taken() -> None:
    grown: list[Bank] = []
    table = small(on_growth=grown.append)
    first, second = (Projection(np.ones((HIDDEN, 9)), np.ones(9)) for _ in range(2))
    table.put(featured(first, 5), version=1)
    assert table.takes(featured(first, 9))
    assert not table.takes(featured(second, 5))
    with pytest.raises(ValueError, match="not of this table's projection"):
        table.put(featured(second, 5), version=1)
    assert not small(front=COSINE).takes(featured(first, 2))


def featured(shared: Projection, count: int) -> HeadWeights:
    random = np.random.default_rng(count)
    weight = random.standard_normal((2, HIDDEN + count)).astype(np.float32)
    return HeadWeights(weight, np.ones(2, np.float32), 1.0, Fourier(shared, count, 0.7))


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


WIDE = HeadWeights(
    np.ones((1, HIDDEN + 1), np.float32),
    np.zeros(1, np.float32),
    1.0,
    Fourier(Projection(np.ones((HIDDEN, 1)), np.ones(1)), 1, 1.0),
)
LAYER = Dense(np.ones((2, HIDDEN), np.float32), np.ones(2, np.float32), "tanh")
NARROW = HeadWeights(np.ones((1, 2), np.float32), np.zeros(1, np.float32))
COSINE = Cosine(np.ones((HIDDEN, 4), np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("table", "put", "message"),
    [
        ({}, {"head": NARROW}, "takes 2 features, not 3"),
        ({}, {"head": NARROW, "front": LAYER}, "no dense layers of 2; make it with front=2"),
        ({}, {"head": NARROW, "front": "cosine"}, "no cosine layer"),
        (
            {"front": Projection(np.ones((HIDDEN, 1)), np.ones(1))},
            {"head": WIDE, "front": "cosine"},
            "another layer",
        ),
        ({"front": COSINE}, {"head": NARROW, "front": LAYER}, "no dense layers"),
        ({"front": 2}, {"head": head(1, 1), "front": LAYER}, "takes 3 features, not 2"),
        ({"front": 3}, {"head": NARROW, "activation": "relu"}, "takes 2 features|softmax or"),
        ({}, {"head": head(1, 1), "activation": "relu"}, "expected softmax or sigmoid"),
        ({}, {"head": head(70_000, 1)}, "not finite in torch.float16; try bfloat16"),
        ({}, {"head": HeadWeights(NARROW.weight[:0], NARROW.bias[:0])}, "0 labels"),
        (
            {},
            {"head": HeadWeights(np.ones((1, 3), np.float32), np.array([np.nan], np.float32))},
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


class Pins(TorchFunctionMode):
    """Stands in for page-locked memory, which PyTorch gives only where there is a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.pin_memory:
            copied = args[0].clone()
            self.pinned.add(copied.data_ptr())
            return copied
        return func(*args, **(kwargs or {}))


def test_all_that_a_gpu_copies_by_itself_is_page_locked() -> None:
    random = np.random.default_rng(0)
    own = Dense(random.standard_normal((5, HIDDEN), np.float32), np.ones(5, np.float32), "tanh")
    weights = HeadWeights(np.ones((2, 5), np.float32), np.zeros(2, np.float32))
    shape = Shape(HIDDEN, 1, 2, 2, 5, False, torch.float16)
    with Pins() as pins:
        staged = stage(shape, weights, version=1, activation="softmax", front=own, pin=True)
    assert {tensor.data_ptr() for tensor in staged if tensor is not None} == pins.pinned
    unpinned = stage(shape, weights, version=1, activation="softmax", front=own, pin=False)
    for one, other in zip(staged, unpinned, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)
