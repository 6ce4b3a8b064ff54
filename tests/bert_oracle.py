"""Small BERT checkpoints and what transformers makes of them: the oracle of the encoder tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel

POSITIONS = 64
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'\"()-卡在哪里我的"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def save_checkpoint(folder: Path, *, seed: int = 0, prefixed: bool = False, **sizes: int) -> Path:
    """A BERT with every parameter random, so that no bias or scale goes untested."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-5,
        **sizes,
    }
    config = BertConfig(**settings)
    model = (BertForSequenceClassification if prefixed else BertModel)(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float("LayerNorm.weight" in name), 0.3)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def reference(
    folder: Path,
    rows: Sequence[NDArray[np.int64]],
    *,
    pooling: str = "mean",
    normalise: bool = True,
) -> NDArray[np.float32]:
    """transformers' vectors, text by text."""
    model: Any = BertModel.from_pretrained(folder)  # in evaluation mode
    with torch.no_grad():
        return np.stack([_vector(model, row, pooling, normalise) for row in rows])


def _vector(model: Any, row: NDArray[np.int64], pooling: str, normalise: bool) -> Any:
    tokens = model(input_ids=torch.from_numpy(row)[None]).last_hidden_state[0]
    vector = tokens.mean(0) if pooling == "mean" else tokens[0]
    return (torch.nn.functional.normalize(vector, dim=0) if normalise else vector).numpy()


def real_texts() -> list[str]:
    """64 texts of 1 to 300 words, some Chinese or with emoji."""
    words = (Path(__file__).parent.parent / "LICENSE").read_text().split()
    texts = list(_pieces(words))[:58]
    return [
        *texts,
        "我的卡在哪里?",
        "我昨天转账了三百块钱 到现在还没有到账 请帮我查一下。",
        "where is my card 😡😡",
        "👩‍👩‍👧‍👦",
        "Ça coûte très cher — naïve café",
        " ".join(words[:300]),
    ]


def _pieces(words: list[str]) -> Iterator[str]:
    start = 0
    for number in range(58):
        size = 1 + number * 7 % 50 + (number % 20 == 19) * 120
        yield " ".join(words[start : start + size])
        start += size


def _tokenizer() -> Tokenizer:
    pieces = [*_SPECIAL, *_CHARACTERS, *(f"##{c}" for c in _CHARACTERS)]
    model = models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
