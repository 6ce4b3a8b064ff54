import random
import threading
from concurrent.futures import Future
from pathlib import Path

import apsw
import pytest

from honed_adapt.storage.errors import check_library
from honed_adapt.storage.sqlite import (
    Database,
    StoreDamaged,
    StoreFailed,
    StoreUnsupported,
    open_reader,
)
from power_loss import forgetful_disk

SCHEMA = ("CREATE TABLE numbers (number INTEGER PRIMARY KEY, filler BLOB) STRICT",)


def put(number: int, filler: int = 0):
    def insert(db: apsw.Connection) -> int:
        db.execute("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, filler))
        return number

    return insert


def numbers(db: apsw.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT number FROM numbers ORDER BY number")]


@pytest.fixture
def database(tmp_path: Path):
    database = Database(tmp_path / "store.sqlite", SCHEMA)
    yield database
    database.close()


def hold_writer(database: Database) -> threading.Event:
    """Keeps the writer busy, so that what is written meanwhile becomes one group."""
    started, release = threading.Event(), threading.Event()

    def wait(_: apsw.Connection) -> None:
        started.set()
        release.wait()

    database.write(wait)
    started.wait()
    return release


def test_what_is_acknowledged_is_seen_by_another_connection(database: Database) -> None:
    assert database.write(put(1)).result() == 1
    reader = open_reader(database.path)
    assert numbers(reader) == database.read(numbers) == [1]
    reader.close()


def test_a_failing_write_fails_alone_in_its_group(database: Database) -> None:
    def fails_halfway(db: apsw.Connection) -> None:
        put(2)(db)
        raise ValueError("mine")

    release = hold_writer(database)
    group: list[Future] = [
        database.write(fn) for fn in (put(1), fails_halfway, put(1), put(3), lambda db: db / 0)
    ]
    release.set()
    errors = [type(done.exception()) for done in group]
    assert errors == [type(None), ValueError, apsw.ConstraintError, type(None), TypeError]
    assert database.read(numbers) == [1, 3]


def test_a_waiting_group_shares_one_commit(tmp_path: Path) -> None:
    with forgetful_disk() as disk:
        database = Database(tmp_path / "store.sqlite", SCHEMA)
        syncs: list[str] = []
        release = hold_writer(database)
        disk.on_io = lambda operation: syncs.append(operation) if operation == "sync" else None
        group = [database.write(put(number)) for number in range(200)]
        release.set()
        assert [done.result() for done in group] == list(range(200))
        database.close()
    assert len(syncs) <= 4


def test_cancelling_before_its_turn_records_nothing(database: Database) -> None:
    release = hold_writer(database)
    left, stayed = database.write(put(1)), database.write(put(2))
    assert left.cancel()
    release.set()
    stayed.result()
    assert database.read(numbers) == [2]


def test_closing_finishes_the_queue_and_refuses_the_rest(database: Database) -> None:
    release = hold_writer(database)
    queued = [database.write(put(number)) for number in range(10)]
    closing = threading.Thread(target=database.close)
    closing.start()
    release.set()
    closing.join()
    assert [done.result() for done in queued] == list(range(10))
    with pytest.raises(StoreFailed, match="closed"):
        database.write(put(11)).result()
    assert list(database.path.parent.iterdir()) == [database.path]


def test_the_write_ahead_log_is_bounded_and_emptied_on_request(database: Database) -> None:
    wal = database.path.with_name("store.sqlite-wal")
    for number in range(100):
        database.write(put(number, 100_000)).result()
    assert wal.stat().st_size < 6_000_000
    database.erase().result()
    assert wal.stat().st_size == 0
    assert len(database.read(numbers)) == 100


def test_a_reader_sees_one_moment(database: Database) -> None:
    database.write(put(1)).result()

    def read_write_read(db: apsw.Connection) -> tuple[list[int], list[int]]:
        before = numbers(db)
        database.write(put(2)).result()
        return before, numbers(db)

    assert database.read(read_write_read) == ([1], [1])
    assert database.read(numbers) == [1, 2]


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_an_unsafe_library_is_refused(version: str) -> None:
    with pytest.raises(StoreUnsupported, match=version):
        check_library(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_safe_library_is_accepted(version: str) -> None:
    check_library(version)


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StoreDamaged, match=r"store\.sqlite is damaged: .*; restore a backup"):
        Database(path, SCHEMA)
    with pytest.raises(StoreDamaged, match=r"store\.sqlite is damaged"):
        open_reader(path)


def test_a_file_with_a_spoiled_page_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    database = Database(path, SCHEMA)
    database.write(lambda db: [put(number, 1_000)(db) for number in range(50)]).result()
    database.close()
    content = bytearray(path.read_bytes())
    content[8192:8704] = b"\xa5" * 512
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"store\.sqlite is damaged"):
        Database(path, SCHEMA)
    assert path.read_bytes() == content


def test_a_missing_file_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match="store"):
        open_reader(tmp_path / "store.sqlite")


def test_the_schema_is_upgraded_and_a_newer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    newer = (*SCHEMA, "ALTER TABLE numbers ADD COLUMN name TEXT")
    database = Database(path, SCHEMA)
    database.write(put(1)).result()
    database.close()
    database = Database(path, newer)
    assert database.read(lambda db: db.execute("SELECT * FROM numbers").get) == (1, b"", None)
    database.close()
    with pytest.raises(StoreUnsupported, match="schema version 2"):
        Database(path, SCHEMA)


def test_a_failed_fsync_stops_the_store_for_good_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"

    def fail(operation: str) -> None:
        if operation == "sync":
            raise apsw.IOError("planted")

    with forgetful_disk() as disk:
        database = Database(path, SCHEMA)
        database.write(put(1)).result()
        disk.on_io = fail
        with pytest.raises(StoreFailed, match=r"store\.sqlite stopped recording"):
            database.write(put(2)).result()
        disk.on_io = lambda _: None
        with pytest.raises(StoreFailed):
            database.write(put(3)).result()
        with pytest.raises(StoreFailed):
            database.erase().result()
        assert isinstance(database.failure, StoreFailed)
        assert database.read(numbers) == [1]
        database.close()
    reopened = Database(path, SCHEMA)
    assert reopened.read(numbers) in ([1], [1, 2])
    reopened.close()


def lost_in_power_cuts(folder: Path, synchronous: str, cuts: int) -> int:
    """Acknowledged numbers lost, over simulated power cuts at random writes and syncs."""
    rng = random.Random(11)
    acknowledged: list[int] = []
    images: list[tuple[Path, int]] = []

    def maybe_cut(_: str) -> None:
        # Runs in the writer thread: nothing can be acknowledged between the two lines.
        if len(images) < cuts and rng.random() < 0.1:
            images.append((folder / f"cut-{len(images)}", len(acknowledged)))
            disk.power_cut(images[-1][0], rng)

    with forgetful_disk() as disk:
        database = Database(folder / "store.sqlite", SCHEMA, synchronous=synchronous)
        disk.on_io = maybe_cut
        while len(images) < cuts:
            first = len(acknowledged)
            group = [database.write(put(first + n, rng.randrange(3_000))) for n in range(3)]
            acknowledged.extend(done.result() for done in group)
            if rng.random() < 0.05:
                database.erase().result()
        database.close()
    lost = 0
    for image, acknowledged_then in images:
        survivor = Database(image / "store.sqlite", SCHEMA)
        lost += len(set(acknowledged[:acknowledged_then]) - set(survivor.read(numbers)))
        survivor.close()
    return lost


def test_power_loss_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert lost_in_power_cuts(tmp_path, "FULL", cuts=60) == 0


def test_the_power_loss_test_bites(tmp_path: Path) -> None:
    assert lost_in_power_cuts(tmp_path, "NORMAL", cuts=20) > 0
