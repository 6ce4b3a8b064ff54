"""Streams bring every row once, in the order that they promise."""

import pytest

from honed_loadtest import datasets

ROWS = [(f"text {n}", f"class {n % 21}") for n in range(420)]


def test_a_shuffled_stream_is_the_same_rows_in_another_order():
    found = datasets.shuffled(ROWS, seed=0)
    assert found != ROWS
    assert sorted(found) == sorted(ROWS)
    assert found == datasets.shuffled(ROWS, seed=0)


def test_a_class_incremental_stream_shows_each_class_in_one_block_only():
    found = datasets.class_incremental(ROWS, blocks=7, seed=0)
    assert sorted(found) == sorted(ROWS)
    blocks = [[label for _, label in found[n : n + 60]] for n in range(0, 420, 60)]
    assert [len(set(block)) for block in blocks] == [3] * 7
    assert len({label for block in blocks for label in set(block)}) == 21
    assert all(block != sorted(block) for block in blocks), "shuffled inside"


def test_a_data_set_is_read_without_a_label_and_within_a_limit(tmp_path, monkeypatch):
    folder = tmp_path / "clinc150"
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        rows = "".join(f"question {n},{'oos' if n % 2 else 'greet'}\n" for n in range(10))
        (folder / name).write_text(f"text,label\n{rows}")
    monkeypatch.setenv("HONED_DATA", str(tmp_path))
    assert len(datasets.load("clinc150").train) == 10
    assert {label for _, label in datasets.load("clinc150", without="oos").test} == {"greet"}
    assert len(datasets.load("clinc150", without="oos", limit=3).train) == 3


def test_a_missing_data_set_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HONED_DATA", str(tmp_path))
    with pytest.raises(datasets.DataMissing, match=r"banking77.train\.csv is missing"):
        datasets.load("banking77")
