"""What transformers makes of a checkpoint: the oracle of the encoder tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer


def reference(
    folder: Path,
    rows: Sequence[NDArray[np.int64]],
    *,
    pooling: str = "mean",
    normalise: bool = True,
) -> NDArray[np.float32]:
    """transformers' vectors, text by text."""
    model: Any = AutoModel.from_pretrained(folder, dtype="float32")  # in evaluation mode
    with torch.no_grad():
        return np.stack([_vector(model, row, pooling, normalise) for row in rows])


def probabilities(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """transformers' answers, text by text, with the checkpoint's own tokenizer and limit."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = [tokenizer(text, truncation=True, return_tensors="pt") for text in texts]
        answers = [model(**row).logits[0].softmax(-1).numpy() for row in rows]
    return np.stack(answers)


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
