"""Real texts: an own head that knows 8 of 12 intents, and a stream of audits of all 12."""

from pathlib import Path

import numpy as np
import pytest

from honed_adapt.encoders.store import default_source, import_encoder
from honed_adapt.head import Head
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import best_labels
from honed_server.learning.adapt_main import make_encode
from shared_data import labelled_texts

INTENTS, KNOWN, EACH = 12, 8, 30


@pytest.mark.data
def test_beside_an_own_head_learning_gains_and_never_costs(tmp_path: Path) -> None:
    """Per intent of Banking77 train: 10 texts for the own head, 12 audited, 8 asked."""
    by_label: dict[str, list[str]] = {}
    for text, label in labelled_texts("banking77/train.csv"):
        by_label.setdefault(label, []).append(text)
    names = sorted(by_label, key=lambda label: (-len(by_label[label]), label))[:INTENTS]
    source = default_source()
    assert source is not None
    hidden, encode = make_encode(tmp_path, import_encoder(source, tmp_path))
    vectors = encode([text for name in names for text in by_label[name][:EACH]])
    grid = vectors.reshape(INTENTS, EACH, hidden)

    def rows(at: range, intents: int) -> list[Row]:
        pairs = [(text, intent) for text in at for intent in range(intents)]
        return [
            Row(n, bytes([text, intent]), names[intent], "", 1.0, grid[intent, text], True)
            for n, (text, intent) in enumerate(pairs, 1)
        ]

    def accuracy(head: Head) -> float:
        asked = grid[:, 22:].reshape(-1, hidden)
        best = best_labels(head, asked)
        right = [label == names[at // (EACH - 22)] for at, label in enumerate(best)]
        return float(np.mean(right))

    teacher = Lane(hidden)
    teacher.apply(rows(range(10), KNOWN))
    own = teacher.head
    lane, alone = Lane(hidden, base=own), Lane(hidden)
    audits = np.random.default_rng(3).permutation(np.array(rows(range(10, 22), INTENTS), object))
    for at in range(0, len(audits), 18):
        lane.apply(audits[at : at + 18].tolist())
        alone.apply(audits[at : at + 18].tolist())
        assert accuracy(lane.head) >= max(accuracy(own), accuracy(alone.head)) - 0.05
    assert lane.weighing.weight > 0
    assert accuracy(lane.head) > accuracy(own) + 0.15
