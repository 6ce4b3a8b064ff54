"""The cache of vectors: what goes in comes out, and what was erased is in no file."""

from pathlib import Path

import numpy as np
import pytest

from honed_adapt.storage.errors import StoreFull
from honed_adapt.storage.vectors import Vector, VectorStore
from small_disk import small_disk

HIDDEN = 384


def vectors(count: int, seed: int = 0) -> list[Vector]:
    return list(np.random.default_rng(seed).normal(size=(count, HIDDEN)).astype(np.float32))


def found(folder: Path, vector: Vector) -> bool:
    """Whether any 16 bytes of the vector are in any file of the folder."""
    pieces = [vector.tobytes()[at : at + 16] for at in range(0, 4 * HIDDEN, 16)]
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(piece in content for piece in pieces for content in contents)


def test_vectors_come_back_by_model_encoder_and_position(tmp_path: Path) -> None:
    one, two, three, four = vectors(4)
    path = tmp_path / "adapt" / "adapt.sqlite"
    with VectorStore(path) as store:
        store.put("m", "encoder", {1: one, 2: two})
        store.put("m", "other", {1: three})
        store.put("n", "encoder", {7: four})
    with VectorStore(path) as store:
        loaded = store.load("m", "encoder", [1, 2, 7, 99])
        assert loaded.keys() == {1, 2}
        np.testing.assert_array_equal(loaded[1], one)
        np.testing.assert_array_equal(loaded[2], two)
        assert loaded[1].dtype == np.float32
        np.testing.assert_array_equal(store.load("m", "other", [1])[1], three)
        assert store.load("m", "encoder", []) == {}
        assert store.load("unknown", "encoder", [1]) == {}


def test_a_vector_put_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    one, two = vectors(2)
    with VectorStore(tmp_path / "adapt.sqlite") as store:
        store.put("m", "e", {1: one})
        store.put("m", "e", {1: two})
        np.testing.assert_array_equal(store.load("m", "e", [1])[1], two)


def test_no_byte_of_a_deleted_vector_is_left_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "adapt.sqlite"
    rows = dict(enumerate(vectors(200)))
    with VectorStore(path) as store:
        store.put("m", "e", rows)
        store.put("m", "f", {7: rows[7]})
        assert found(tmp_path, rows[7])
        store.delete("m", [7, 8, 9, 12_345])
        assert not any(found(tmp_path, rows[at]) for at in (7, 8, 9))
        assert found(tmp_path, rows[10])
        assert store.load("m", "f", [7]) == {}
        store.delete("m", [7])
    with VectorStore(path) as store:
        assert store.load("m", "e", [7, 8, 9, 10]).keys() == {10}


def test_anchors_come_back_by_the_hash_of_their_text_and_can_be_erased(tmp_path: Path) -> None:
    one, two = vectors(2)
    with VectorStore(tmp_path / "adapt.sqlite") as store:
        store.put_anchors("m", "e", {b"\x0a" * 32: one, b"\xff" * 32: two})
        assert store.load_anchors("m", "other") == {}
        store.keep_anchors("m", [b"\xff" * 32])
        kept = store.load_anchors("m", "e")
        assert kept.keys() == {b"\xff" * 32}
        np.testing.assert_array_equal(kept[b"\xff" * 32], two)
        assert not found(tmp_path, one)


def test_the_newest_accepted_revision_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "adapt.sqlite"
    with VectorStore(path) as store:
        assert store.accepted("m") == 0
        store.accept("m", 9)
        store.accept("m", 5)
    with VectorStore(path) as store:
        assert store.accepted("m") == 9


def test_a_forgotten_model_leaves_nothing(tmp_path: Path) -> None:
    label, anchor, other = vectors(3)
    with VectorStore(tmp_path / "adapt.sqlite") as store:
        store.put("m", "e", {1: label})
        store.put_anchors("m", "e", {b"a": anchor})
        store.accept("m", 9)
        store.put("n", "e", {2: other})
        store.forget_model("m")
        assert not found(tmp_path, label)
        assert not found(tmp_path, anchor)
        assert store.accepted("m") == 0
        assert store.load("n", "e", [2]).keys() == {2}


def test_what_belongs_to_an_encoder_that_is_gone_is_erased(tmp_path: Path) -> None:
    old, new = vectors(2)
    with VectorStore(tmp_path / "adapt.sqlite") as store:
        for digest, vector in (("gone", old), ("kept", new)):
            store.put("m", digest, {1: vector})
            store.put_anchors("m", digest, {b"hash": vector})
            store.put_votes("m", digest, {1: (0.5, 0.25)})
        store.keep_encoders(["kept"])
        assert store.load("m", "gone", [1]) == store.load_anchors("m", "gone") == {}
        assert store.votes("m", "gone") == {}
        np.testing.assert_array_equal(store.load("m", "kept", [1])[1], new)
        assert store.votes("m", "kept") == {1: (0.5, 0.25)}
    assert not found(tmp_path, old)
    assert found(tmp_path, new)


@pytest.mark.parametrize("damage", ["no database", "torn page"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "adapt.sqlite"
    with VectorStore(path) as store:
        store.put("m", "e", dict(enumerate(vectors(100))))
    content = bytearray(path.read_bytes())
    if damage == "no database":
        content[:16] = b"not a database!!"
    else:
        content[4096 : 3 * 4096] = b"\xee" * (2 * 4096)
    path.write_bytes(content)
    with VectorStore(path) as store:
        assert store.load("m", "e", range(100)) == {}
        store.put("m", "e", {1: vectors(1)[0]})
        assert store.load("m", "e", [1]).keys() == {1}


def test_a_full_disk_keeps_no_vector_and_claims_no_erasure(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        VectorStore(disk.folder / "adapt.sqlite") as store,
    ):
        store.put("m", "e", dict(enumerate(vectors(100))))
        disk.fill()
        store.put("m", "e", dict(enumerate(vectors(100), 100)))
        with pytest.raises(StoreFull):
            store.delete("m", range(90))
        assert len(store.load("m", "e", range(200))) == 100
        disk.free()
        store.delete("m", range(90))
        store.put("m", "e", {100: vectors(1)[0]})
        assert len(store.load("m", "e", range(200))) == 11


def test_what_sets_missed_is_kept_and_goes_with_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "adapt.sqlite"
    with VectorStore(path) as store:
        store.put_misses("m", {3: True, 4: False})
        store.put_misses("m", {4: True})
        store.put_misses("n", {3: False})
    with VectorStore(path) as store:
        assert store.misses("m") == {3: True, 4: True}
        store.delete("m", [3])
        assert store.misses("m") == {4: True}
        assert store.models() >= {"n"}
        store.forget_model("m")
        assert store.misses("m") == {}
        assert store.misses("n") == {3: False}
