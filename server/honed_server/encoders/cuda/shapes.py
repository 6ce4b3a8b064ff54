"""Which sizes of batch have a graph, and how a batch is laid out for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_server.encoders.packing import positions

Ids = NDArray[np.int64]

_LEAST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph's sizes: at most so many tokens in at most so many texts.

    Attributes:
        tokens: a multiple of 16.
        rows: texts; a multiple of 4.
    """

    tokens: int
    rows: int

    @property
    def size(self) -> int:
        """Integers of a batch's input."""
        return 2 * (self.rows + self.tokens) + 4

    @property
    def parts(self) -> tuple[slice, slice, slice, slice]:
        """Where cu_seqlens (rows + 1,), head_id (rows,), input_ids and position_ids (tokens,) lie.

        Each begins at a multiple of 16 bytes, as kernels are compiled for.
        """
        head_id, input_ids = self.rows + 4, 2 * self.rows + 4
        position_ids = input_ids + self.tokens
        return (
            slice(self.rows + 1),
            slice(head_id, input_ids),
            slice(input_ids, position_ids),
            slice(position_ids, position_ids + self.tokens),
        )

    def pack(
        self, rows: Sequence[Ids], numbers: Ids, padding: int, flat: NDArray[np.int32]
    ) -> None:
        """Lay a batch out.

        Args:
            rows: token ids of each text, (tokens,), none empty; not more than fit.
            numbers: what each row carries as head_id, (rows,).
            padding: the token that has no place.
            flat: int32 (size,), overwritten.
        """
        cu_seqlens, head_id, input_ids, position_ids = (flat[part] for part in self.parts)
        lengths = np.array([row.size for row in rows])
        ends, texts, tokens = np.cumsum(lengths), len(rows), np.concatenate(rows)
        cu_seqlens[0] = 0
        cu_seqlens[1 : texts + 1] = ends
        cu_seqlens[texts + 1 :] = ends[-1]  # what is left are empty texts that ask for no head
        head_id[:texts], head_id[texts:] = numbers, -1
        input_ids[: tokens.size], input_ids[tokens.size :] = tokens, 0
        row_ids = np.repeat(np.arange(texts), lengths)
        position_ids[: tokens.size] = positions(tokens, row_ids, ends - lengths, padding)
        position_ids[tokens.size :] = 0


def shapes_up_to(most_tokens: int) -> tuple[Shape, ...]:
    """The graphs of an encoder, ascending: 16, 32, 48, 64, 96, 128, 192, … tokens.

    Two sizes for each power of two: less than a third of a batch is padding. A text has eight
    tokens or more on average, else the next size has room for it.

    Args:
        most_tokens: the last shape has at least so many.
    """
    tokens, step = [_LEAST_TOKENS], _LEAST_TOKENS
    while tokens[-1] < most_tokens:
        tokens.append(tokens[-1] + step)
        if tokens[-1] == 4 * step:
            step *= 2
    return tuple(Shape(each, 4 * -(-each // 32)) for each in tokens)


def smallest(shapes: Sequence[Shape], rows: Sequence[Ids]) -> Shape:
    """The shape with the least padding; the rows fit the largest."""
    tokens = sum(row.size for row in rows)
    return next(each for each in shapes if tokens <= each.tokens and len(rows) <= each.rows)


def runs(rows: Sequence[Ids], largest: Shape) -> Iterator[slice]:
    """Parts of a batch that fit a shape, in order; most batches are one."""
    start = tokens = 0
    for n, row in enumerate(rows):
        if n > start and (tokens + row.size > largest.tokens or n - start == largest.rows):
            yield slice(start, n)
            start, tokens = n, 0
        tokens += row.size
    yield slice(start, len(rows))
