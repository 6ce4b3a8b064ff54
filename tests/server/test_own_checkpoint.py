"""A fine-tuned checkpoint answers in Honed as it does in transformers."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import FAMILIES, POSITIONS, save_classifier
from honed_adapt.encoders.own_head import read_own_head
from honed_adapt.encoders.store import import_encoder, open_encoder
from honed_kernels.head import HeadWeights, grouped_head
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from oracle import probabilities, real_texts

TOLERANCE = 1e-5
# A user may write the special tokens too: RoBERTa gives "<pad>" no position.
TEXTS = [*real_texts(), "a <pad> b [PAD] c </s> d"]
ANCHOR = Path(__file__).parents[2] / "examples" / "support" / "anchor.csv"


class Served:
    """What Honed makes of a checkpoint, without the wire."""

    def __init__(self, source: Path, home: Path) -> None:
        files = open_encoder(home, import_encoder(source, home, classifier=True))
        head = read_own_head(source)
        self.tokenizer = Tokenizer(files)
        self._encoder = OnnxEncoder(files)
        self._head = HeadWeights(head.weight, head.bias)

    def answer(self, texts: list[str], batch: int) -> NDArray[np.float32]:
        rows = [tokens.ids for tokens in self.tokenizer.tokenise(texts)]
        batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        vectors = np.concatenate([self._encoder.encode(part) for part in batches])
        out = grouped_head(
            vectors, np.zeros(len(rows), np.int64), [self._head], top_k=len(self._head.bias)
        )
        answers = np.empty((len(rows), len(self._head.bias)), np.float32)
        for row, (indices, values) in enumerate(zip(out.indices, out.probabilities, strict=True)):
            answers[row, indices] = values
        return answers


def _compare(answers: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(answers.argmax(1), wanted.argmax(1))
    np.testing.assert_allclose(answers, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_transformers_alone_and_in_company(
    tmp_path: Path, family: str, activation: str
) -> None:
    source = save_classifier(tmp_path / "source", family, hidden_act=activation)
    served, wanted = Served(source, tmp_path), probabilities(source, TEXTS)
    assert served.tokenizer.max_tokens == POSITIONS
    for batch in (1, 16):
        _compare(served.answer(TEXTS, batch), wanted)


def test_a_truly_fine_tuned_model_answers_as_in_transformers(
    fine_tuned: Path, tmp_path: Path
) -> None:
    with ANCHOR.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:40] + real_texts()[::4]
    _compare(Served(fine_tuned, tmp_path).answer(texts, 8), probabilities(fine_tuned, texts))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_served_as_float32(tmp_path: Path, dtype: str) -> None:
    source = save_classifier(tmp_path / "source", dtype=dtype)
    _compare(Served(source, tmp_path).answer(TEXTS, 16), probabilities(source, TEXTS))
