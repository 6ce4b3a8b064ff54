"""Who may be answered in integers: by labels that were held out, not by those that were learned."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.encoders.precision import Evidence, due, find_out
from honed_adapt.head import Head
from honed_adapt.instant.lane import Row

HIDDEN, CLASSES = 16, 5
Noise = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def labels(count: int) -> tuple[list[Row], dict[int, str]]:
    """Labels of separable classes; a text's vector can be told from the text."""
    rows, texts = [], {}
    for position in range(1, count + 1):
        text = f"text {position}"
        digest = hashlib.sha256(text.encode()).digest()
        label = f"class {position % CLASSES}"
        rows.append(Row(position, digest, label, "s", 1.0, vector(text)))
        texts[position] = text
    return rows, texts


def vector(text: str) -> NDArray[np.float32]:
    number = int(text.split()[1])
    found = np.random.default_rng(number).normal(scale=0.1, size=HIDDEN)
    found[number % CLASSES] += 1
    return (found / np.linalg.norm(found)).astype(np.float32)


def encoder(noise: Noise = lambda batch: batch):
    return lambda texts: noise(np.stack([vector(text) for text in texts]))


def test_exact_integers_hold():
    rows, texts = labels(1500)
    found = find_out(rows, texts, encoder())
    assert found is not None
    assert found.labels == 1500
    assert found.holdout == pytest.approx(300, abs=60)
    assert (found.changed, found.lost, found.holds) == (0.0, 0.0, True)


def test_answers_that_depend_on_the_batch_are_seen():
    rows, texts = labels(1500)
    found = find_out(rows, texts, encoder(lambda batch: batch * 0.5 + batch.mean(axis=0)))
    assert found is not None
    assert found.changed > 0.002
    assert not found.holds


def test_lost_accuracy_is_seen_even_if_it_is_the_same_in_every_batch():
    rows, texts = labels(1500)
    found = find_out(rows, texts, encoder(lambda batch: np.roll(batch, 1, axis=1)))
    assert found is not None
    assert found.changed == 0
    assert found.lost > 0.5
    assert not found.holds


def test_few_labels_decide_nothing():
    assert find_out([], {}, encoder()) is None
    assert find_out(*labels(500), encoder()) is None


def test_texts_of_rare_classes_are_never_held_out():
    rows, _ = labels(1500)
    rare = [
        Row(2000 + n, row.text_hash, f"rare {n}", "s", 1.0, row.vector)
        for n, row in enumerate(rows[:1500])
    ]
    assert find_out(rare, {row.position: "text 1" for row in rare}, encoder()) is None


def test_corrections_of_an_own_head_say_nothing():
    rows, texts = labels(1500)
    base = Head(("none",), np.zeros((1, HIDDEN), np.float32), np.zeros(1, np.float32), 1.0)
    assert find_out(rows, texts, encoder(), base=base) is None
    audits = [replace(row, votes=True) for row in rows]
    assert find_out(audits, texts, encoder(), base=base) is not None


@pytest.mark.parametrize(
    ("labels", "judged_at", "again"),
    [(999, 0, False), (1000, 0, True), (1999, 1000, False), (2000, 1000, True)],
)
def test_it_is_found_out_again_when_the_labels_have_doubled(labels, judged_at, again):
    assert due(labels, judged_at) is again


@pytest.mark.parametrize("changed", [float("nan"), -1.0, 0.0021])
def test_evidence_without_sense_does_not_hold(changed):
    assert not Evidence(5000, 1000, changed, 0.0).holds
    assert not Evidence(5000, 1000, 0.0, float("nan")).holds
    assert not Evidence(5000, 199, 0.0, 0.0).holds
