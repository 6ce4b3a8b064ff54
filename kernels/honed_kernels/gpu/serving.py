"""Times of what serves: grouped heads, pool and head, the head of many labels, adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from honed_kernels.gpu import rivals
from honed_kernels.gpu.bench import Bench, head
from honed_kernels.gpu.report import Outcome
from honed_kernels.gpu.rivals import Heads, Scores
from honed_kernels.gpu.runner import Case
from honed_kernels.gpu.sizes import Batch
from honed_kernels.gpu.timing import OURS, Maker, compare, least, ratios, timed
from honed_kernels.memory import MAX_LABELS
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.ops.large_head import large_head
from honed_kernels.ops.pool import pool
from honed_kernels.table import HeadTable

_TOP_K = 2
_HALF = 2  # bytes of a float16


def grouped_cases(bench: Bench) -> Iterator[Case]:
    """Rows over heads, already pooled."""
    for n, batch in enumerate(bench.sizes.grouped):
        yield Case(str(batch), partial(_grouped, bench, batch, n == 0))


def pooled_cases(bench: Bench) -> Iterator[Case]:
    """Token states to scores."""
    for n, batch in enumerate(bench.sizes.pooled):
        yield Case(str(batch), partial(_pooled, bench, batch, ("eager", "compiled"), n == 0))


def sweep_cases(bench: Bench) -> Iterator[Case]:
    """The same with one size varied at a time, beside eager PyTorch only."""
    for batch in bench.sizes.sweep:
        yield Case(str(batch), partial(_pooled, bench, batch, ("eager",), False))


def large_cases(bench: Bench) -> Iterator[Case]:
    """One head of very many labels."""
    for n, sizes in enumerate(bench.sizes.large):
        rows, hidden, labels = sizes
        last = n == len(bench.sizes.large) - 1
        yield Case(f"B{rows} H{hidden} C{labels}", partial(_large, bench, *sizes, last))


def _grouped(bench: Bench, batch: Batch, aim: bool) -> Outcome:
    heads, head_id, table = _heads(bench, batch)
    pooled = bench.normal(batch.rows, batch.hidden)
    x = pooled.half()
    batched = bench.device.compile(rivals.padded_bmm)
    ways: dict[str, Maker] = {
        OURS: lambda: lambda: (_score(pooled, head_id, table),),
        "loop": lambda: partial(rivals.loop, x, heads, _TOP_K),
        "padded bmm": lambda: partial(rivals.padded_bmm, x, heads, _TOP_K),
        "sorted addmm": lambda: partial(rivals.sorted_addmm, x, heads, _TOP_K),
        "compiled bmm": lambda: partial(batched, x, heads, _TOP_K),
    }
    times, values = compare(bench, ways, **_work(batch, states=4 * pooled.numel()))
    if aim:
        for name, others in (
            ("grouped_head_over_loop", ["loop"]),
            ("grouped_head_over_batched", ["padded bmm", "sorted addmm", "compiled bmm"]),
        ):
            bench.record(name, least(ratios(times, others)))
    return timed(values)


def _pooled(bench: Bench, batch: Batch, others: tuple[str, ...], aim: bool) -> Outcome:
    states = bench.normal(batch.rows * batch.tokens, batch.hidden, dtype=torch.float16)
    ends = bench.boundaries([batch.tokens] * batch.rows)
    heads, ours = _both(bench, batch)

    def eager(states: Tensor, heads: Heads) -> Scores:
        return rivals.padded_bmm(rivals.mean_pool(states, batch.rows).half(), heads, _TOP_K)

    rival: dict[str, Callable[..., Scores]] = {
        "eager": eager,
        "compiled": bench.device.compile(eager),
    }
    ways: dict[str, Maker] = {
        OURS: lambda: lambda: (ours(pool(states, ends, kind="mean")[0]),),
        **{name: partial(partial, rival[name], states, heads) for name in others},
    }
    _, values = compare(bench, ways, **_work(batch, states=_HALF * states.numel()))
    if aim:
        bench.record("pool_share_of_copy", values["share_of_copy"])
    return timed(values)


def _both(bench: Bench, batch: Batch) -> tuple[Heads, Callable[[Tensor], Tensor]]:
    """The heads, and how we score pooled rows with them; very many labels have a head alone."""
    if batch.labels <= MAX_LABELS:
        heads, head_id, table = _heads(bench, batch)
        return heads, lambda pooled: _score(pooled, head_id, table)
    scale = batch.hidden**-0.5
    weight = bench.normal(batch.labels, batch.hidden, dtype=torch.float16, scale=scale)
    bias = bench.normal(batch.labels, dtype=torch.float16)
    heads = Heads(weight[None], bias[None], torch.ones(1, device=bench.device.place))
    wide = bias.float()
    return heads, lambda pooled: large_head(pooled, weight, wide, top_k=_TOP_K).probabilities


def _heads(bench: Bench, batch: Batch) -> tuple[Heads, Tensor, HeadTable]:
    """The same heads side by side and in a table."""
    table = HeadTable(
        batch.hidden,
        models=batch.heads,
        slots=max(2, batch.heads),
        max_labels=batch.labels,
        device=bench.device.place,
    )
    made = [head(batch.labels, batch.hidden, seed=n) for n in range(batch.heads)]
    for n, one in enumerate(made):
        table.publish(table.open(), table.put(one, version=n))
    place = bench.device.place
    row = torch.arange(batch.rows, device=place)
    return (
        Heads(
            torch.stack([torch.from_numpy(one.weight) for one in made]).half().to(place),
            torch.stack([torch.from_numpy(one.bias) for one in made]).half().to(place),
            torch.tensor([one.temperature for one in made], device=place),
        ),
        (row * batch.heads // batch.rows).to(torch.int32),
        table,
    )


def _score(pooled: Tensor, head_id: Tensor, table: HeadTable) -> Tensor:
    return grouped_head(pooled, head_id, table.bank, top_k=_TOP_K).probabilities


def _work(batch: Batch, *, states: int) -> dict[str, float]:
    """Bytes that must be moved and operations that must be done; `states` are the input's bytes."""
    weights = batch.heads * batch.labels * (_HALF * batch.hidden + 4)
    scores = batch.rows * (8 * _TOP_K + 24)
    return {
        "bytes_moved": float(states + weights + scores),
        "operations": 2.0 * batch.rows * batch.labels * batch.hidden,
    }


def _large(bench: Bench, rows: int, hidden: int, labels: int, aim: bool) -> Outcome:
    x = bench.normal(rows, hidden, dtype=torch.bfloat16)
    weight = bench.normal(labels, hidden, dtype=torch.bfloat16, scale=hidden**-0.5)
    one = torch.ones(1, device=bench.device.place)

    def unfused(x: Tensor, weight: Tensor) -> Scores:
        return rivals.epilogue(x @ weight.T, one, _TOP_K)

    compiled = bench.device.compile(unfused)
    ways: dict[str, Maker] = {
        OURS: lambda: lambda: (large_head(x, weight, top_k=_TOP_K).probabilities,),
        "eager": lambda: lambda: unfused(x, weight),
        "compiled": lambda: lambda: compiled(x, weight),
    }
    work = _work(Batch(rows, 1, hidden, labels), states=_HALF * x.numel())
    times, values = compare(bench, ways, **work)
    if aim:
        bench.record("large_head_over_unfused", least(ratios(times, ["eager"])))
    return timed(values)
