import csv
from collections import Counter
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "examples" / "support"
NAMES = ("train", "anchor", "new_label")


def read(name: str) -> list[list[str]]:
    with (SUPPORT / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def labels(name: str) -> Counter[str]:
    return Counter(label for _, label in read(name)[1:])


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_text_and_label(name):
    header, *rows = read(name)
    assert header == ["text", "label"]
    assert rows
    assert [row for row in rows if len(row) != 2] == []


def test_each_intent_has_enough_sentences():
    train, anchor = labels("train"), labels("anchor")
    assert len(train) >= 20
    assert min(train.values()) >= 12
    assert anchor == dict.fromkeys(train, 5)


def test_no_sentence_occurs_twice():
    texts = Counter(row[0].casefold() for name in NAMES for row in read(name)[1:])
    assert [text for text, count in texts.items() if count > 1] == []


def test_the_new_label_is_new():
    assert labels("new_label").keys().isdisjoint(labels("train") | labels("anchor"))


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_filled_and_have_no_blanks_around(name):
    fields = [field for row in read(name)[1:] for field in row]
    assert [field for field in fields if not field or field != field.strip()] == []
