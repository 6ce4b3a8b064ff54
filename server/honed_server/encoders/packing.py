"""Texts of a batch one behind the other, as both engines read them."""

import numpy as np
from numpy.typing import NDArray


def positions(
    input_ids: NDArray[np.int64],
    row_ids: NDArray[np.int64],
    starts: NDArray[np.int64],
    padding: int,
) -> NDArray[np.int64]:
    """Counts each text's tokens from `padding + 1`; the padding token itself has no place.

    A user can write it ("<pad>"); RoBERTa then gives it the position `padding`.

    Args:
        input_ids: Tokens of all texts, (tokens,).
        row_ids: The text that each token belongs to, (tokens,).
        starts: Where each text begins, (texts,).
        padding: The token that has no place.

    Returns:
        Rows of the position table, (tokens,).
    """
    counts = input_ids != padding
    counted = np.cumsum(counts)
    before = (counted - counts)[starts]
    places: NDArray[np.int64] = padding + (counted - before[row_ids]) * counts
    return places
