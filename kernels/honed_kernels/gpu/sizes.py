"""All sizes in one place: those of a GPU, and small ones of the same kinds for the interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one length, pooled and scored.

    Attributes:
        rows: texts.
        tokens: of each.
        hidden: numbers a token.
        labels: of each head.
        heads: that the rows are spread over, as many rows to each.
    """

    rows: int
    tokens: int
    hidden: int
    labels: int
    heads: int = 1

    def __str__(self) -> str:
        each = zip("BTHC", (self.rows, self.tokens, self.hidden, self.labels), strict=True)
        return " ".join(f"{name}{size}" for name, size in (*each, ("heads", self.heads)))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of all parts.

    Attributes:
        checked_rows: of every check.
        checked_hidden: of every check.
        checked_labels: of the heads in one table.
        checked_large: labels of the large head.
        swaps: heads published between replays.
        copied_numbers: float32 numbers in the copy that gives the bandwidth.
        multiplied: side of the matrices whose product gives the operations a second.
        grouped: rows over heads, already pooled; the first is the one that aims are about.
        pooled: the same.
        large: (rows, hidden, labels); the last is the one that the aim is about.
        training: (rows, hidden, labels); the aim is about those with at most 1,024 labels, and the
            last shows whether logits are stored.
        lora: (tokens, features, rank, adapters).
        sums: (rows, width, labels) of the closed-form heads.
        sweep: one size varied at a time.
    """

    checked_rows: int
    checked_hidden: int
    checked_labels: tuple[int, ...]
    checked_large: int
    swaps: int
    copied_numbers: int
    multiplied: int
    grouped: tuple[Batch, ...]
    pooled: tuple[Batch, ...]
    large: tuple[tuple[int, int, int], ...]
    training: tuple[tuple[int, int, int], ...]
    lora: tuple[int, int, int, int]
    sums: tuple[int, int, int]
    sweep: tuple[Batch, ...]


def _sweep(
    rows: tuple[int, ...],
    tokens: tuple[int, ...],
    hidden: tuple[int, ...],
    labels: tuple[int, ...],
    heads: tuple[int, ...],
) -> tuple[Batch, ...]:
    """Each size varied by itself; the first of each is what the others stand at."""
    axes = (rows, tokens, hidden, labels, heads)
    first = [axis[0] for axis in axes]
    varied = product(range(len(axes)), range(max(map(len, axes))))
    batches = [
        Batch(*(axes[place][n] if place == axis else one for place, one in enumerate(first)))
        for axis, n in varied
        if n < len(axes[axis])
    ]
    return tuple(dict.fromkeys(batches))


FULL = Sizes(
    checked_rows=130,
    checked_hidden=768,
    checked_labels=(3, 150, 300),
    checked_large=5_000,
    swaps=1_000,
    copied_numbers=2**30,
    multiplied=8_192,
    grouped=(
        Batch(64, 1, 768, 150, 64),
        Batch(64, 1, 768, 150, 1),
        Batch(256, 1, 768, 77, 256),
    ),
    pooled=(Batch(1_024, 512, 4_096, 150), Batch(64, 128, 384, 150), Batch(1, 128, 384, 2)),
    large=((1, 768, 100_000), (64, 768, 100_000), (1_024, 768, 100_000)),
    training=(
        (256, 384, 2),
        (256, 768, 77),
        (1_024, 768, 150),
        (1_024, 1_024, 1_000),
        (1_024, 768, 100_000),
    ),
    lora=(4_096, 768, 16, 32),
    sums=(1_024, 768, 150),
    sweep=_sweep(
        (64, 1, 8, 256, 1_024),
        (128, 16, 512),
        (768, 384, 1_024, 4_096),
        (150, 2, 16, 77, 1_000, 100_000),
        (1, 4, 16, 64),
    ),
)

SMALL = Sizes(
    checked_rows=5,
    checked_hidden=40,
    checked_labels=(3, 70),
    checked_large=150,
    swaps=20,
    copied_numbers=2**12,
    multiplied=32,
    grouped=(Batch(6, 1, 32, 5, 3),),
    pooled=(Batch(3, 5, 32, 4),),
    large=((2, 32, 70),),
    training=((5, 32, 3), (5, 32, 70)),
    lora=(6, 32, 16, 2),
    sums=(9, 32, 3),
    sweep=_sweep((2,), (3,), (32,), (4, 4_100), (1, 2)),
)
