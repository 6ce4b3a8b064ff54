import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest

from honed_adapt.storage.sqlite import StoreFull
from honed_server.serving.predictions import PredictionLog, PredictionRow
from power_loss import forgetful_disk
from small_disk import small_disk


def row(number: int, text: str = "hello", model: str = "m", at: float | None = None):
    when = time.time() if at is None else at
    return PredictionRow(f"p{number}", model, text, "greeting", 0.75, 2, 17, when)


def flush(log: PredictionLog) -> None:
    """The writer works in order: when it has forgotten nothing, it has written what waited."""
    log.forget("nobody", []).result()


def kept(log: PredictionLog, numbers: range) -> list[int]:
    return [number for number in numbers if log.find(f"p{number}")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[PredictionLog]:
    with closing(PredictionLog(path)) as log:
        yield log


def test_an_answer_is_found_at_once_in_memory_and_then_on_disk(
    log: PredictionLog, path: Path
) -> None:
    answer = row(1)
    log.add([answer])
    assert log.recent("p1") == answer
    assert log.recent("p2") is None
    flush(log)
    assert log.find("p1") == answer
    assert log.find("p2") is None
    log.close()
    with closing(PredictionLog(path)) as log:
        assert log.recent("p1") is None
        assert log.find("p1") == answer


def test_answers_gather_until_they_are_flushed_or_many(log: PredictionLog) -> None:
    log.add([row(1)])
    assert log.recent("p1") is not None
    log.flush()
    flush(log)
    assert log.find("p1") is not None
    for number in range(2, 258):  # the last one finds 256 waiting
        log.add([row(number)])
    flush(log)
    assert log.find("p257") is not None


def test_what_waits_is_written_at_closing(path: Path) -> None:
    with closing(PredictionLog(path)) as log:
        log.add([row(1)])
    with closing(PredictionLog(path)) as log:
        assert log.find("p1") is not None


def test_a_text_that_waits_is_forgotten_too(log: PredictionLog, path: Path) -> None:
    log.add([row(1, "a secret word")])
    log.forget("m", [("p1", "a secret word")]).result()
    found = log.find("p1")
    assert found is not None
    assert found.text is None
    assert b"a secret word" not in path.read_bytes()


def test_a_file_of_an_earlier_honed_is_taken_over(path: Path) -> None:
    with closing(PredictionLog(path)) as log:
        log.add([row(1)])
    with closing(apsw.Connection(str(path))) as file:
        file.execute("ALTER TABLE predictions DROP COLUMN probability")
        file.execute("ALTER TABLE predictions DROP COLUMN precision")
        file.pragma("user_version", 1)
    with closing(PredictionLog(path)) as log:
        log.add([row(2)])
        flush(log)
        old, new = log.find("p1"), log.find("p2")
    assert old is not None
    assert (old.label, old.probability, old.version) == ("greeting", None, 2)
    assert new is not None
    assert new.probability == 0.75


def test_memory_is_bounded_by_answers_and_by_bytes(tmp_path: Path) -> None:
    with closing(PredictionLog(tmp_path / "a.sqlite", memory_rows=10)) as log:
        log.add([row(number) for number in range(25)])
        assert [n for n in range(25) if log.recent(f"p{n}")] == list(range(15, 25))
    with closing(PredictionLog(tmp_path / "b.sqlite", memory_bytes=1_000)) as log:
        log.add([row(number, "x" * 300) for number in range(10)])
        assert [n for n in range(10) if log.recent(f"p{n}")] == [7, 8, 9]


def test_texts_stay_off_the_disk_when_told(path: Path) -> None:
    with closing(PredictionLog(path, store_texts=False)) as log:
        log.add([row(1, "confidential")])
        flush(log)
        recent, found = log.recent("p1"), log.find("p1")
    assert recent is not None
    assert recent.text == "confidential"
    assert found is not None
    assert (found.text, found.label, found.revision) == (None, "greeting", 17)
    assert b"confidential" not in path.read_bytes()


def test_answers_are_dropped_when_too_old(path: Path) -> None:
    old = time.time() - 1_000
    with closing(PredictionLog(path, max_age_s=500)) as log:
        log.add([row(number, at=old) for number in range(500)])
        log.add([row(number) for number in range(500, 2_500)])
        flush(log)
        assert kept(log, range(2_500)) == list(range(500, 2_500))


def test_pruning_erases_what_is_too_old_from_memory_and_from_all_files(path: Path) -> None:
    rng, now = random.Random(8), time.time()
    texts = [f"secret-{rng.getrandbits(80):020x} " * rng.choice((1, 3, 9)) for _ in range(2_500)]
    looked_for = range(0, 2_500, 10)
    ages = [1_000] * 400 + [400] * 1_900 + [0] * 200
    with closing(PredictionLog(path, max_age_s=500)) as log:
        for number, (text, age) in enumerate(zip(texts, ages, strict=True)):
            log.add([row(number, text, at=now - age)])
        flush(log)
        for later, gone in ((0, 400), (200, 2_300), (1_000, 2_500)):
            while log.prune(now + later).result():
                pass
            left = bytes_of(path)
            held = [n for n in looked_for if texts[n][:27].encode() in left]
            assert held == [n for n in looked_for if n >= gone]
            assert kept(log, range(2_500)) == list(range(gone, 2_500))
            assert [n for n in range(2_500) if log.recent(f"p{n}")] == list(range(gone, 2_500))
        assert log.find("0") is None  # emptied rows have no names


def test_pruning_goes_on_where_it_stopped_and_numbers_begin_anew(path: Path) -> None:
    with closing(PredictionLog(path, max_age_s=500)) as log:
        for _ in range(3):
            log.add([row(number) for number in range(1_500)])
            flush(log)
            assert log.prune(time.time() + 1_000).result() == 1_500
            assert log.prune(time.time() + 1_000).result() == 0
            assert kept(log, range(1_500)) == []


def test_the_oldest_answers_are_dropped_when_the_file_is_too_large(path: Path) -> None:
    limit = 2_000_000
    with closing(PredictionLog(path, max_bytes=limit)) as log:
        for first in range(0, 40_000, 1_000):
            log.add([row(first + number, "x" * 200) for number in range(1_000)])
        flush(log)
        left = kept(log, range(40_000))
        assert left
        assert left == list(range(left[0], 40_000))
        # One pruning interval of rows may lie above the limit.
        assert path.stat().st_size < 2 * limit


def test_forgetting_blanks_texts_by_id_and_by_text_in_one_model(
    log: PredictionLog, path: Path
) -> None:
    texts = {1: "by id", 2: "by text", 3: "by text", 4: "kept"}
    log.add([row(number, text) for number, text in texts.items()])
    log.add([row(5, "by text", model="n")])
    log.forget("m", [("p1", ""), ("p5", ""), ("", "by text")]).result()
    found = [log.find(f"p{number}") for number in range(1, 6)]
    assert [one.text for one in found if one] == [None, None, None, "kept", "by text"]
    assert [one.label for one in found if one] == ["greeting"] * 5
    assert [bool(log.recent(f"p{n}")) for n in range(1, 6)] == [False, False, False, True, True]


def bytes_of(path: Path) -> bytes:
    # Not with open(): closing it here would drop SQLite's locks of this process on the file.
    files = [str(file) for file in path.parent.glob(f"{path.name}*")]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def test_forgotten_texts_are_in_no_file(log: PredictionLog, path: Path) -> None:
    rng = random.Random(4)
    texts = [f"secret-{rng.getrandbits(80):020x} " * rng.choice((1, 9, 300)) for _ in range(600)]
    log.add([row(number, text) for number, text in enumerate(texts)])
    log.add([row(1_000, "of another model", model="n")])
    flush(log)
    assert texts[0][:27].encode() in bytes_of(path), "the search must be able to find"
    log.forget("m", [(f"p{n}", "") for n in range(100)]).result()
    log.forget("m", [("", text) for text in texts[100:200]]).result()
    left = bytes_of(path)
    assert [text[:27].encode() in left for text in texts] == [False] * 200 + [True] * 400
    log.forget_model("m").result()
    left = bytes_of(path)
    assert not any(text[:27].encode() in left for text in texts)
    assert b"of another model" in left
    assert log.recent("p300") is None


def test_what_could_not_be_forgotten_is_not_said_to_be(path: Path) -> None:
    def full_once(operation: str) -> None:
        if operation == "write":
            disk.on_io = lambda _: None
            raise apsw.FullError("planted")

    with forgetful_disk() as disk, closing(PredictionLog(path)) as log:
        log.add([row(1, "secret")])
        flush(log)
        disk.on_io = full_once
        with pytest.raises(StoreFull):
            log.forget("m", [("p1", "secret")]).result()
        log.forget("m", [("p1", "secret")]).result()
        assert b"secret" not in bytes_of(path)


def test_a_damaged_log_is_set_aside_and_a_new_one_begun(path: Path) -> None:
    path.write_bytes(b"\0garbage" * 2_000)
    with closing(PredictionLog(path)) as log:
        log.add([row(1)])
        flush(log)
        assert log.find("p1")
    (aside,) = path.parent.glob("predictions.sqlite.damaged-*")
    assert aside.read_bytes() == b"\0garbage" * 2_000


def test_a_full_disk_costs_old_answers_only(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        closing(PredictionLog(disk.folder / "predictions.sqlite")) as log,
    ):
        log.add([row(0)])
        flush(log)
        log.add([row(number, "x" * 10_000) for number in range(1, 200)])
        with suppress(StoreFull):
            flush(log)
        assert log.dropped == 199
        assert log.find("p0")
        assert log.recent("p199")


def test_the_latest_answers_of_a_model_come_with_their_texts(path: Path) -> None:
    with closing(PredictionLog(path)) as log:
        log.add([row(1), row(2, model="n"), row(3), row(4)])
        flush(log)
        log.forget("m", [("p3", "")]).result()
        log.add([row(5)])
        flush(log)
        assert [one.prediction_id for one in log.latest("m", 10)] == ["p1", "p4", "p5"]
        assert [one.prediction_id for one in log.latest("m", 2)] == ["p4", "p5"]
    with closing(PredictionLog(path)) as log:
        assert [one.text for one in log.latest("n", 10)] == ["hello"]


def test_texts_that_are_not_kept_on_disk_are_known_while_they_are_in_memory(path: Path) -> None:
    with closing(PredictionLog(path, store_texts=False)) as log:
        log.add([row(1)])
        flush(log)
        assert [one.text for one in log.latest("m", 10)] == ["hello"]
    with closing(PredictionLog(path, store_texts=False)) as log:
        assert log.latest("m", 10) == []
