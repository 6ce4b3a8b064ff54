"""Texts to vectors outside the batcher: for labels, gates and comparisons, where nobody waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from honed_server.serving.tokenizer import Tokenizer

if TYPE_CHECKING:
    from honed_server.serving.generations import Encoder


def encode_texts(
    encoder: Encoder, tokenizer: Tokenizer, texts: Sequence[str], run_tokens: int = 128
) -> NDArray[np.float32]:
    """Vectors of texts, (texts, hidden), in runs of at most so many tokens, or of one text."""
    rows = [tokens.ids for tokens in tokenizer.tokenise(texts)]
    vectors = np.empty((len(rows), encoder.hidden), np.float32)
    start = 0
    while start < len(rows):
        stop, size = start + 1, rows[start].size
        while stop < len(rows) and size + rows[stop].size <= run_tokens:
            size += rows[stop].size
            stop += 1
        vectors[start:stop] = encoder.encode(rows[start:stop])
        start = stop
    return vectors
