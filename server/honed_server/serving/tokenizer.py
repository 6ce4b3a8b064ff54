"""Text to token ids.

It stands between the request and the queue: the service tokenises as soon as a text arrives,
because batches are formed by tokens.
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from honed_adapt.encoders.store import EncoderFiles

# Of a long text so many characters for each token that fits are looked at first; English has 5.
_LOOK_AHEAD = 8
# Where a text may be cut: no Unicode rule and no pattern of ours joins these two characters.
_CUT = re.compile(r"[!-~](?= )")
# Steps that never look across such a place, and those that also split a text there.
_NORMALISERS = {
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip",
    "StripAccents",
}  # fmt: skip
_SPACES = {"Regex": " {2,}"}
_SPLITTERS = {"BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"}


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
        may_cut = _may_cut(self._tokenizer)
        self._head_characters = _LOOK_AHEAD * files.max_tokens if may_cut else sys.maxsize

    def tokenise(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts, each on its own; about 35 us for a sentence."""
        heads = [self._head(text) for text in texts]
        tokens = self._encoded(heads)
        for i, text in enumerate(texts):
            if len(heads[i]) < len(text) and not tokens[i].truncated:
                (tokens[i],) = self._encoded([text])
        return tokens

    def _head(self, text: str) -> str:
        """The beginning of a long text, cut where all of its tokens are tokens of the text."""
        if len(text) <= self._head_characters:
            return text
        found = _CUT.search(text, self._head_characters)
        return text[: found.end()] if found else text

    def _encoded(self, texts: Sequence[str]) -> list[Tokens]:
        return [
            Tokens(np.array(encoding.ids, np.int64), bool(encoding.overflowing))
            for encoding in self._tokenizer.encode_batch_fast(texts)
        ]


def _may_cut(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether what follows a place of `_CUT` never changes the tokens before it.

    So it is if no step looks further, the space stays a space and splits what the model reads, and
    no token that was added to the vocabulary has a space within.
    """
    normaliser, splitters = tokenizer.normalizer, _steps(tokenizer.pre_tokenizer)
    added = (token.content for token in tokenizer.get_added_tokens_decoder().values())
    return (
        all(map(_is_local, _steps(normaliser)))
        and (normaliser is None or normaliser.normalize_str("a b") == "a b")
        and len(splitters) > 0
        and all(map(_splits, splitters))
        and all(re.fullmatch(r"[!-~]+", content) for content in added)
    )


def _steps(part: Any) -> Sequence[Mapping[str, Any]]:
    """The settings of a normaliser or pre-tokenizer, step by step; none if there is none."""
    if part is None:
        return []
    settings = json.loads(part.__getstate__())
    steps: Sequence[Mapping[str, Any]] = (
        settings.get("normalizers") or settings.get("pretokenizers") or [settings]
    )
    return steps


def _is_local(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Replace":
        return step["pattern"] == _SPACES and step["content"] in (" ", "▁")
    return step["type"] in _NORMALISERS


def _splits(step: Mapping[str, Any]) -> bool:
    return step["type"] in _SPLITTERS and step.get("use_regex", True) and step.get("split", True)
