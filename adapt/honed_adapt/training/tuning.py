"""The numbers of a fine-tuning, and what they make of a rate, a batch and an epoch. Pure.

It stands before `fit.py`, which trains by them; `search.py` proposes others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Kind = Literal["adapter", "full"]

_POOL_BATCHES = 32  # batches whose rows are sorted by length together


@dataclass(frozen=True, slots=True)
class Tuning:
    """Hyper-parameters of one fine-tuning.

    Attributes:
        kind: a low-rank adapter (LoRA, Hu et al. 2021), or all weights.
        rank: of the adapter.
        strength: what its product is multiplied with (alpha / rank).
        everywhere: whether the adapter lies on all linear layers, or on query and value only.
        rate: peak learning rate of the encoder (AdamW).
        head_rate: that of the training head.
        batch: rows a step.
        epochs: at most so many.
        patience: evaluations without gain after which training stops.
        warm_up: share of all steps in which the rate rises; then it falls to 0 in a line.
        weight_decay: of AdamW, on matrices.
        dropout: in the encoder and before the adapter.
        clip: largest norm of a gradient.
        scale: what cosines are multiplied with to be logits of the training head.
        distil: weight of the champion's answers beside the labels, on replayed rows.
        softening: temperature at which they are compared (Hinton et al. 2015).
        repeats: how often at most a new row comes in an epoch, so that halves are new.
        slice_tokens: tokens of a slice, padding included: what runs before serving may have its
            turn.
        seed: of everything random.
    """

    kind: Kind = "adapter"
    rank: int = 16
    strength: int = 10
    everywhere: bool = True
    rate: float = 2e-4
    head_rate: float = 2e-3
    batch: int = 16
    epochs: int = 3
    patience: int = 2
    warm_up: float = 0.1
    weight_decay: float = 0.001
    dropout: float = 0.1
    clip: float = 1.0
    scale: float = 20.0
    distil: float = 0.5
    softening: float = 2.0
    repeats: int = 3
    slice_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.rank, self.batch, self.epochs, self.patience, self.repeats)
        rates = (self.rate, self.head_rate, self.clip, self.scale, self.softening)
        if not all(number > 0 for number in (*counts, self.slice_tokens, self.strength, *rates)):
            raise ValueError("rates, sizes and counts of a fine-tuning must be above 0")
        if not (0 <= self.dropout < 1 and 0 <= self.warm_up < 1 and 0 <= self.distil <= 1):
            raise ValueError("dropout and warm_up lie in [0, 1), distil in [0, 1]")

    @classmethod
    def of(cls, kind: Kind, seed: int) -> Tuning:
        """The defaults of a kind."""
        default = cls(seed=seed)
        return default if kind == "adapter" else replace(default, kind="full", rate=2e-5)

    def rate_share(self, step: int, steps: int) -> float:
        """Share of the peak rates at a step, from 0."""
        rising = max(1, round(self.warm_up * steps))
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (steps - step) / max(1, steps - rising))


def epoch_rows(new: Sequence[int], old: Sequence[int], labels: Sequence[Hashable],
               limit: int,
               tuning: Tuning, epoch: int) -> list[int]:  # fmt: skip
    """Rows of one epoch: half new and half replayed, as far as no new row comes too often.

    Args:
        new: rows that the champion's encoder was not trained on.
        old: those that it was.
        labels: of all rows, by row.
        limit: most replayed rows; beyond it they are drawn evenly from the classes.
        tuning: gives `repeats` and the seed.
        epoch: its number; each has another draw.
    """
    random = np.random.default_rng([tuning.seed, epoch, 0])
    replayed = _evenly(old, labels, limit, random) if len(old) > limit else list(old)
    repeats = min(tuning.repeats, max(1, round(len(replayed) / max(1, len(new)))))
    return [*replayed, *(row for row in new for _ in range(repeats))]


def epoch_batches(
    rows: Sequence[int], lengths: Sequence[int], tuning: Tuning, epoch: int
) -> list[list[int]]:
    """Batches of one epoch, each of rows that are about as long, in random order.

    Args:
        rows: those of the epoch.
        lengths: tokens of all rows, by row.
        tuning: gives the batch size and the seed.
        epoch: its number.
    """
    random = np.random.default_rng([tuning.seed, epoch, 1])
    order = [rows[i] for i in random.permutation(len(rows))]
    pool = tuning.batch * _POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        near = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [near[at : at + tuning.batch] for at in range(0, len(near), tuning.batch)]
    return [batches[i] for i in random.permutation(len(batches))]


def slices(rows: Iterable[int], lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Cut rows into parts of at most so many tokens with padding, or of one row."""
    part: list[int] = []
    for row in sorted(rows, key=lambda row: lengths[row]):
        if part and (len(part) + 1) * lengths[row] > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _evenly(
    rows: Sequence[int], labels: Sequence[Hashable], limit: int, random: np.random.Generator
) -> list[int]:
    """A draw of so many rows in which no class has more than its turn (a balanced reservoir)."""
    classes: dict[Hashable, list[int]] = {}
    for i in random.permutation(len(rows)):
        classes.setdefault(labels[rows[i]], []).append(rows[i])
    turns = sorted((turn, row) for kept in classes.values() for turn, row in enumerate(kept))
    return sorted(row for _, row in turns[:limit])
