"""The checks of what serves: pool, heads of all kinds, adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from honed_kernels.fourier import GRID, Fourier, Projection
from honed_kernels.gpu.bench import Bench, head
from honed_kernels.gpu.checks import EXACT, ROUNDED, Check, host
from honed_kernels.memory import Cosine, Dense
from honed_kernels.ops.grouped_head import Scores, grouped_head
from honed_kernels.ops.grouped_lora import grouped_lora
from honed_kernels.ops.large_head import large_head
from honed_kernels.ops.pool import Kind, pool
from honed_kernels.reference import grouped_lora as lora_reference
from honed_kernels.reference import heads as heads_reference
from honed_kernels.reference import large_head as large_reference
from honed_kernels.reference import pool as pool_reference
from honed_kernels.table import HeadTable

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_TOP_K = 3
_FRONT = 33  # features that a layer in front makes


def checks(bench: Bench) -> Iterator[Check]:
    """All of them."""
    for name, dtype in DTYPES.items():
        for kind in get_args(Kind):
            yield _pool(bench, f"pool/{kind}/{name}", kind, dtype)
        yield _pool(bench, f"pool/mean-norm-l2/{name}", "mean", dtype, normed=True)
    for name, dtype in DTYPES.items():
        for front in ("none", "dense", "cosine", "beside"):
            yield _grouped(bench, f"grouped_head/{front}/{name}", front, dtype)
        yield _large(bench, f"large_head/{name}", dtype)
        yield _lora(bench, f"grouped_lora/{name}", dtype)


def _pool(
    bench: Bench, name: str, kind: Kind, dtype: torch.dtype, *, normed: bool = False
) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden
    lengths = [0, *np.random.default_rng(0).integers(1, 140, rows - 1).tolist()]

    def made() -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, float] | None]:
        states = bench.normal(sum(lengths), hidden, dtype=dtype, scale=3)
        norm = (bench.normal(hidden, seed=1), bench.normal(hidden, seed=2), 1e-12)
        return states, bench.boundaries(lengths), norm if normed else None

    def run(start: int = 0) -> tuple[Tensor, ...]:
        states, ends, norm = made()
        return pool(states, ends[start:], kind=kind, normalize=normed, norm=norm)

    def want() -> tuple[Tensor, ...]:
        states, ends, norm = made()
        wide = None if norm is None else (host(norm[0]), host(norm[1]), norm[2])
        return pool_reference.pool(host(states), host(ends), kind=kind, normalize=normed, norm=wide)

    return Check(name, run, want, EXACT, lambda: run(-2))


def _grouped(bench: Bench, name: str, front: str, dtype: torch.dtype) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden

    def run(start: int = 0) -> tuple[Tensor, ...]:
        pooled, head_id = made()
        bank = _table(bench, front, dtype, bench.device.place).bank
        scores = grouped_head(pooled[start:], head_id[start:], bank, top_k=_TOP_K, logits=True)
        return settled(*[getattr(scores, field) for field in Scores.__slots__])

    def want() -> tuple[Tensor, ...]:
        pooled, head_id = made()
        memory = _table(bench, front, dtype, torch.device("cpu")).bank.memory
        ids, probabilities, measures, *others = heads_reference.grouped_head_in_memory(
            host(pooled), head_id.cpu(), memory, _TOP_K, logits=True
        )
        return settled(ids, probabilities, *measures, *others)

    def made() -> tuple[Tensor, Tensor]:
        # Such that the one rounding of `pooled` changes nothing.
        pooled = bench.normal(rows, hidden, dtype=dtype).float()
        head_id = bench.integers(len(bench.sizes.checked_labels) + 1, rows) - 1
        return pooled, head_id.to(torch.int32)

    def settled(ids: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        if front == "none":
            return ids, *others
        # What was rounded on the way may put two close labels the other way round.
        return others[-1].gather(1, ids.clamp_min(0).long()), *others

    return Check(name, run, want, EXACT if front == "none" else ROUNDED[dtype], lambda: run(-1))


def _table(bench: Bench, front: str, dtype: torch.dtype, place: torch.device) -> HeadTable:
    """Heads of several sizes behind a layer of one kind."""
    hidden, labels = bench.sizes.checked_hidden, bench.sizes.checked_labels
    random = np.random.default_rng(5)
    matrix = np.rint(random.standard_normal((hidden, _FRONT)) / GRID) * GRID
    phase, width = random.uniform(0, 6, _FRONT), 0.5 * hidden**0.5
    projection = Projection(matrix, phase)
    cosine = Cosine((matrix / width).astype(np.float32), phase.astype(np.float32))
    layer = head(_FRONT, hidden, seed=6)
    table = HeadTable(
        hidden,
        models=len(labels),
        slots=2 * len(labels),
        max_labels=max(labels),
        device=place,
        dtype=dtype,
        front={"none": None, "dense": _FRONT, "cosine": cosine}.get(front, projection),
    )
    reads = {"none": hidden, "beside": hidden + _FRONT}.get(front, _FRONT)
    own: dict[str, Dense | Literal["cosine"] | None] = {
        "dense": Dense(layer.weight, layer.bias, "gelu"),
        "cosine": "cosine",
    }
    for n, count in enumerate(labels):
        made = head(count, reads)
        if front == "beside":
            made = replace(made, features=Fourier(projection, _FRONT, width=width))
        placed = table.put(
            made,
            version=n + 1,
            activation="sigmoid" if n % 2 else "softmax",
            front=own.get(front),
        )
        table.publish(table.open(), placed)
    return table


def _large(bench: Bench, name: str, dtype: torch.dtype) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden
    labels = bench.sizes.checked_large

    def made() -> tuple[Tensor, Tensor, Tensor]:
        weight = bench.normal(labels, hidden, dtype=dtype, scale=2 / hidden**0.5)
        return bench.normal(rows, hidden, dtype=dtype), weight, bench.normal(labels)

    def run(start: int = 0) -> tuple[Tensor, ...]:
        x, weight, bias = made()
        return large_head(x[start:], weight, bias, temperature=0.7, top_k=_TOP_K)

    def want() -> tuple[Tensor, ...]:
        x, weight, bias = map(host, made())
        return large_reference.large_head(x, weight, bias, temperature=0.7, top_k=_TOP_K)

    return Check(name, run, want, EXACT, lambda: run(-1))


def _lora(bench: Bench, name: str, dtype: torch.dtype) -> Check:
    rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden
    slots, rank = 3, 16

    def made() -> tuple[Tensor, ...]:
        return (
            bench.normal(rows, hidden, dtype=dtype),
            bench.normal(rows, hidden + 24, dtype=dtype),
            (bench.integers(slots + 1, rows) - 1).to(torch.int32),
            bench.normal(slots, rank, hidden, dtype=dtype, scale=hidden**-0.5),
            bench.normal(slots, hidden + 24, rank, dtype=dtype, scale=0.5),
            bench.normal(slots),
        )

    def run(start: int = 0) -> tuple[Tensor, ...]:
        x, base, adapter_id, *adapters = made()
        return (grouped_lora(x[start:], base[start:], adapter_id[start:], *adapters),)

    def want() -> tuple[Tensor, ...]:
        x, base, adapter_id, *adapters = map(host, made())
        return (lora_reference.grouped_lora(x, base, adapter_id, *adapters),)

    return Check(name, run, want, ROUNDED[dtype], lambda: run(-1))
