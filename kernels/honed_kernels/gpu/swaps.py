"""A captured graph goes on answering, and rightly, while heads are swapped under it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from honed_kernels.backend import compilations
from honed_kernels.gpu.bench import Bench, head
from honed_kernels.gpu.report import Outcome
from honed_kernels.gpu.runner import Case
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.table import HeadTable

_MODELS, _HEADS, _TOP_K = 4, 7, 3


def cases(bench: Bench) -> Iterator[Case]:
    """One."""
    yield Case("grouped_head", lambda: _swap(bench))


def _swap(bench: Bench) -> Outcome:
    """Publish a head and replay, time after time; the host waits at the end only.

    A row is wrong if its scores differ by a bit from those of its head in a plain call, or if it
    names another version.
    """
    serving = _Serving(bench)
    expected = torch.stack([serving.answers_of(index) for index in range(_HEADS)])
    current = [_HEADS - 1] * _MODELS
    replay = bench.device.capture(serving.step)
    compiled, swaps = compilations(), bench.sizes.swaps
    scores, versions, want = [], [], []
    bench.device.synchronize()
    start = time.perf_counter()
    for swap in range(swaps):
        model, current[swap % _MODELS] = swap % _MODELS, swap % _HEADS
        serving.publish(model, swap % _HEADS, version=1 + swap)
        replay()
        scores.append(serving.scores.clone())
        versions.append(serving.versions.clone())
        want.append(list(current))
    bench.device.synchronize()
    swap_us = (time.perf_counter() - start) * 1e6 / swaps
    compiled = compilations() - compiled

    model_of = serving.head_id.cpu().long()
    chosen = torch.tensor(want)[:, model_of]
    right = expected.cpu()[chosen, torch.arange(len(model_of))]
    alike = (torch.stack(scores).cpu() == right).all(2)
    # The version of a model's latest swap; those before the first are what `answers_of` left.
    latest = 1 + torch.arange(swaps)[:, None] - (torch.arange(swaps)[:, None] - model_of) % _MODELS
    named = torch.where(latest > 0, latest, 0) == torch.stack(versions).cpu().clamp_min(0)
    wrong = int((~(alike & named)).sum())
    values = {
        "swaps": swaps,
        "rows": swaps * len(model_of),
        "wrong_rows": wrong,
        "compiled": compiled,
        "swap_and_replay_us": swap_us,
    }
    bench.record("swaps_without_fault", float(compiled == 0 and wrong == 0))
    why = f"{wrong} rows are wrong, {compiled} kernels were compiled" if wrong or compiled else ""
    return Outcome(values, "failed" if why else "done", why)


class _Serving:
    """A table, rows of all its models, and a step with fixed addresses to score them."""

    def __init__(self, bench: Bench) -> None:
        rows, hidden = bench.sizes.checked_rows, bench.sizes.checked_hidden
        labels = [bench.sizes.checked_labels[n % 2] for n in range(_HEADS)]
        self._heads = [head(count, hidden, seed=n) for n, count in enumerate(labels)]
        self._table = HeadTable(
            hidden,
            models=_MODELS,
            slots=2 * _MODELS,
            max_labels=max(labels),
            device=bench.device.place,
        )
        self._models = [self._table.open() for _ in range(_MODELS)]
        self._pooled = bench.normal(rows, hidden)
        row = torch.arange(rows, device=bench.device.place)
        self.head_id = (row % _MODELS).to(torch.int32)
        self.scores = torch.empty(rows, 2 * _TOP_K, device=bench.device.place)
        self.versions = torch.empty(rows, dtype=torch.int64, device=bench.device.place)

    def publish(self, model: int, index: int, *, version: int) -> None:
        """Let a head answer for a model."""
        placed = self._table.put(self._heads[index], version=version)
        self._table.publish(self._models[model], placed)

    def answers_of(self, index: int) -> Tensor:
        """What all rows get where one head answers for all models."""
        for model in range(_MODELS):
            self.publish(model, index, version=0)
        self.step()
        return self.scores.clone()

    def step(self) -> None:
        """Score all rows, into `scores` and `versions`."""
        found = grouped_head(self._pooled, self.head_id, self._table.bank, top_k=_TOP_K)
        torch.cat([found.ids.float(), found.probabilities], 1, out=self.scores)
        self.versions.copy_(found.version)
