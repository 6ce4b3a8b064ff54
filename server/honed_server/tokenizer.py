"""Text to token ids.

It stands between the request and the queue: the service tokenises as soon as a text arrives,
because batches are formed by tokens.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tokenizers
from numpy.typing import NDArray

from honed_adapt.encoder_store import EncoderFiles


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """One tokenised text.

    Attributes:
        ids: int64 (tokens,), special tokens included.
        truncated: whether the text was longer than the encoder reads.
    """

    ids: NDArray[np.int64]
    truncated: bool


class Tokenizer:
    """The tokenizer of one encoder. Several threads may share it: nothing changes after its making.

    Args:
        files: the encoder that it belongs to.

    Attributes:
        special_tokens: tokens of a text without any content, such as [CLS] and [SEP].
    """

    def __init__(self, files: EncoderFiles) -> None:
        # Otherwise the library starts a thread per core, which would fight the engine's workers
        # over 30 us of work; it has no other switch.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(files.max_tokens)
        self.max_tokens = files.max_tokens
        self.digest = files.tokenizer_digest
        self.special_tokens = len(self._tokenizer.encode("").ids)

    def tokenise(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts, each on its own; about 35 us for a sentence."""
        return [
            Tokens(np.array(encoding.ids, np.int64), bool(encoding.overflowing))
            for encoding in self._tokenizer.encode_batch_fast(texts)
        ]
