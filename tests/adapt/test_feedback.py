import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import feedback_writer
from honed_adapt.feedback.log import (
    KEY_OF_DELETED,
    KEY_TAKEN,
    Ack,
    Entry,
    FeedbackLog,
    FeedbackReader,
    KeyConflict,
    Kind,
    NewFeedback,
    Selector,
    State,
    UnknownFeedback,
    text_hash,
)
from honed_adapt.feedback.rows import SCHEMA
from honed_adapt.storage.sqlite import Database, StoreDamaged, StoreFull
from power_loss import forgetful_disk
from small_disk import small_disk


def item(key: str, text: str = "hello", label: str = "greeting", **more) -> NewFeedback:
    return NewFeedback("m", key, text, label, more.pop("kind", Kind.CORRECTION), **more)


def retraction(key: str, feedback_id: str) -> NewFeedback:
    return NewFeedback("m", key, "", "", Kind.RETRACTION, retracts=feedback_id)


def submit(log: FeedbackLog, *items: NewFeedback) -> list:
    return log.submit(items).result()


def states(log: FeedbackLog, model: str = "m") -> list[State]:
    return [record.state for record in log.list(model, 0, 1_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[FeedbackLog]:
    with closing(FeedbackLog(path, clock=lambda: 1_700_000_000.25)) as log:
        yield log


def test_a_label_comes_back_as_it_was_given(log: FeedbackLog) -> None:
    given = item(
        "k", "Grüße 👋", "Anrede", kind=Kind.AUDIT, submitter="ann", weight=2.5, event_time=12.5,
        prediction_id="p1", predicted_label="other", predicted_version=3, predicted_revision=44,
    )  # fmt: skip
    (ack,) = submit(log, given)
    (record,) = log.list("m", 0, 10)
    assert ack == Ack(record.feedback_id, record.position, already_recorded=False)
    for name in NewFeedback.__dataclass_fields__:
        if name != "model":
            assert getattr(record, name) == getattr(given, name)
    assert (record.recorded_time, record.state) == (1_700_000_000.25, State.ACTIVE)
    assert (record.deleted_position, record.deleted_by, record.deleted_time) == (0, "", 0.0)


def test_a_log_from_before_soft_labels_goes_on_with_them(path: Path) -> None:
    """And they are blanked with the rest when they are deleted."""
    old = Database(path, SCHEMA[:2])
    old.write(
        lambda db: db.execute(
            "INSERT INTO log (feedback_id, model, kind, idempotency_key, content_hash, text,"
            " text_hash, label, submitter, weight, event_time, recorded_time)"
            " VALUES ('f1', 'm', 1, 'k', ?, 'hello', ?, 'greeting', '', 1, 0, 0)",
            (item("k").content_hash(), text_hash("hello")),
        )
    ).result()
    old.close()
    soft = item("s", label="Anrede", shares=(("Anrede", 0.75), ('Grüße "zurück"', 0.25)))
    with closing(FeedbackLog(path)) as log:
        known, new = submit(log, item("k"), soft)
        assert known.already_recorded
        assert not new.already_recorded
        plain, shared = log.list("m", 0, 10)
        assert (plain.shares, shared.shares) == ((), soft.shares)
        assert log.list("m", 0, 10, label='Grüße "zurück"') == [shared]
        with closing(FeedbackReader(path)) as reader:
            assert [entry.shares for entry in reader.entries(0, 10)] == [(), soft.shares]
        log.delete("m", Selector([new.feedback_id]), "ann").result()
        assert log.list("m", 0, 10)[1].shares == ()
        log.blank([one.position for one in log.marked()]).result()
        log.erase().result()
        assert "zurück".encode() not in path.read_bytes()


def test_positions_are_one_sequence_for_all_models(log: FeedbackLog) -> None:
    other = NewFeedback("n", "k", "text", "label", Kind.AUDIT)
    acks = submit(log, item("a"), other, item("b"))
    assert [ack.position for ack in acks] == [1, 2, 3]
    assert (log.last_position("m"), log.last_position("n"), log.last_position("x")) == (3, 2, 0)
    assert len({ack.feedback_id for ack in acks}) == 3


def test_the_same_key_and_content_is_recorded_once(log: FeedbackLog) -> None:
    (first,) = submit(log, item("k", event_time=1.0))
    again, twice = submit(log, item("k", event_time=2.0), item("k", predicted_label="x"))
    assert again == twice == Ack(first.feedback_id, first.position, already_recorded=True)
    assert len(log.list("m", 0, 10)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"label": "other"},
        {"kind": Kind.AUDIT},
        {"submitter": "ben"},
        {"weight": 2.0},
        {"prediction_id": "p"},
    ],
)
def test_the_same_key_with_other_content_is_a_conflict(log: FeedbackLog, change: dict) -> None:
    submit(log, item("k"))
    conflict, fine = submit(log, item("k", **change), item("k2", **change))
    assert isinstance(conflict, KeyConflict)
    assert conflict.reason == KEY_TAKEN
    assert isinstance(fine, Ack)


def test_keys_are_per_model(log: FeedbackLog) -> None:
    other = NewFeedback("n", "k", "text", "label", Kind.AUDIT)
    assert all(isinstance(result, Ack) for result in submit(log, item("k"), other))


def test_sixteen_threads_with_the_same_keys_record_each_once(log: FeedbackLog) -> None:
    barrier = threading.Barrier(16)

    def send(seed: int) -> list[Ack]:
        keys = [f"k{n}" for n in range(20)]
        random.Random(seed).shuffle(keys)
        barrier.wait()
        return [submit(log, item(key, text=key))[0] for key in keys]

    with ThreadPoolExecutor(16) as pool:
        acks = [ack for one in pool.map(send, range(16)) for ack in one]
    assert len({ack.feedback_id for ack in acks}) == 20
    assert sum(not ack.already_recorded for ack in acks) == 20
    assert len(log.list("m", 0, 1_000)) == 20


def test_sixteen_threads_fighting_for_a_key_have_one_winner(log: FeedbackLog) -> None:
    barrier = threading.Barrier(16)

    def send(n: int) -> Ack | KeyConflict:
        barrier.wait()
        return submit(log, item("k", text=f"text {n}"))[0]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(send, range(16)))
    assert sum(isinstance(result, Ack) for result in results) == 1
    assert sum(isinstance(result, KeyConflict) for result in results) == 15


def test_listing_is_paged_and_filtered(log: FeedbackLog) -> None:
    submit(log, *(item(f"k{n}", label=f"l{n % 2}", submitter=f"s{n % 3}") for n in range(12)))
    page = log.list("m", 5, 4)
    assert [record.position for record in page] == [6, 7, 8, 9]
    assert {record.label for record in log.list("m", 0, 100, label="l1")} == {"l1"}
    both = log.list("m", 0, 100, label="l1", submitter="s2")
    assert [record.position for record in both] == [6, 12]
    assert log.list("unknown", 0, 100) == []


def test_a_retraction_withdraws_a_label_and_deleting_it_brings_the_label_back(
    log: FeedbackLog,
) -> None:
    (label,) = submit(log, item("a"))
    (first, second) = submit(
        log, retraction("r1", label.feedback_id), retraction("r2", label.feedback_id)
    )
    assert states(log) == [State.RETRACTED, State.ACTIVE, State.ACTIVE]
    assert log.list("m", 1, 1)[0].retracts == label.feedback_id
    log.delete("m", Selector([first.feedback_id]), "ann").result()
    assert states(log)[0] is State.RETRACTED
    log.delete("m", Selector([second.feedback_id]), "ann").result()
    assert states(log)[0] is State.ACTIVE


def test_only_undeleted_labels_of_the_model_can_be_retracted(log: FeedbackLog) -> None:
    label, gone = submit(log, item("a"), item("b"))
    (foreign,) = submit(log, NewFeedback("n", "a", "text", "label", Kind.AUDIT))
    (withdrawn,) = submit(log, retraction("r", label.feedback_id))
    log.delete("m", Selector([gone.feedback_id]), "ann").result()
    targets = ["", "f-unknown", gone.feedback_id, foreign.feedback_id, withdrawn.feedback_id]
    results = submit(log, *(retraction(f"x{n}", target) for n, target in enumerate(targets)))
    assert [type(result) for result in results] == [UnknownFeedback] * 5
    assert len(log.list("m", 0, 100)) == 3


def test_a_repeated_retraction_is_acknowledged_even_when_its_label_is_gone(
    log: FeedbackLog,
) -> None:
    (label,) = submit(log, item("a"))
    (ack,) = submit(log, retraction("r", label.feedback_id))
    log.delete("m", Selector([label.feedback_id]), "ann").result()
    (again,) = submit(log, retraction("r", label.feedback_id))
    assert again == Ack(ack.feedback_id, ack.position, already_recorded=True)


def test_deletion_leaves_a_tombstone_and_keeps_the_key(log: FeedbackLog) -> None:
    kept, gone = submit(log, item("a"), item("b", "secret", submitter="ben", prediction_id="p"))
    deletion = log.delete("m", Selector([gone.feedback_id, "f-unknown"]), "ann").result()
    tombstone, unknown = deletion.tombstones
    assert (deletion.position, deletion.first_position) == (3, gone.position)
    assert isinstance(unknown, UnknownFeedback)
    assert tombstone == log.list("m", kept.position, 10)[0]
    assert (tombstone.text, tombstone.label, tombstone.prediction_id) == ("", "", "")
    assert (tombstone.position, tombstone.idempotency_key) == (gone.position, "")
    assert (tombstone.deleted_position, tombstone.deleted_by) == (3, "ann")
    assert (tombstone.deleted_time, tombstone.state) == (1_700_000_000.25, State.DELETED)
    (conflict,) = submit(log, item("b", "secret", submitter="ben", prediction_id="p"))
    assert isinstance(conflict, KeyConflict)
    assert conflict.reason == KEY_OF_DELETED


def test_repeating_a_deletion_is_harmless(log: FeedbackLog) -> None:
    (gone,) = submit(log, item("a"))
    first = log.delete("m", Selector([gone.feedback_id, gone.feedback_id]), "ann").result()
    again = log.delete("m", Selector([gone.feedback_id]), "ben").result()
    assert (again.position, again.first_position) == (0, 0)
    assert again.tombstones == first.tombstones[:1] == first.tombstones[1:]
    assert log.last_position("m") == first.position


def test_feedback_of_another_model_is_not_deleted(log: FeedbackLog) -> None:
    (foreign,) = submit(log, NewFeedback("n", "a", "text", "label", Kind.AUDIT))
    deletion = log.delete("m", Selector([foreign.feedback_id]), "ann").result()
    assert deletion.position == 0
    assert isinstance(deletion.tombstones[0], UnknownFeedback)
    assert states(log, "n") == [State.ACTIVE]


def test_deleting_a_model_blanks_all_of_it_and_nothing_else(log: FeedbackLog) -> None:
    first, _ = submit(log, item("a"), item("b"))
    submit(log, retraction("r", first.feedback_id))
    submit(log, NewFeedback("n", "a", "text", "label", Kind.AUDIT))
    log.import_anchor("m", [("hi", "greeting")], replace=False).result()
    log.delete("m", Selector([first.feedback_id]), "ann").result()
    assert log.delete_model("m", "ann").result() == 2
    assert log.delete_model("m", "ann").result() == 0
    assert states(log) == [State.DELETED] * 3
    assert states(log, "n") == [State.ACTIVE]
    assert log.anchors("m") == []
    assert log.anchor_set_number("m") == 2


def test_marks_follow_the_newest_decision_but_quarantine_lifts_no_exclusion(
    log: FeedbackLog,
) -> None:
    acks = submit(log, item("a"), item("b"), item("c"))
    log.delete("m", Selector([acks[2].feedback_id]), "ann").result()
    assert log.mark([1, 2, 3, 4, 99], State.QUARANTINED, "d1").result() == 2
    assert states(log) == [State.QUARANTINED, State.QUARANTINED, State.DELETED]
    log.mark([1], State.EXCLUDED, "d2").result()
    log.mark([1], State.QUARANTINED, "d3").result()
    log.mark([2], State.ACTIVE, "d4").result()
    assert states(log) == [State.EXCLUDED, State.ACTIVE, State.DELETED]
    (withdrawn,) = submit(log, retraction("r", acks[0].feedback_id))
    assert states(log)[0] is State.RETRACTED
    log.delete("m", Selector([withdrawn.feedback_id]), "ann").result()
    assert states(log)[0] is State.EXCLUDED


def test_positions_of_a_range_or_a_submitter(log: FeedbackLog) -> None:
    acks = submit(log, *(item(f"k{n}", submitter=f"s{n % 2}") for n in range(6)))
    submit(log, retraction("r", acks[0].feedback_id))
    log.delete("m", Selector([acks[3].feedback_id]), "ann").result()
    assert log.positions("m", 2, 100) == [2, 3, 5, 6]
    assert log.positions("m", 1, 5, "s0") == [1, 3, 5]
    assert log.positions("n", 1, 5) == []


def test_an_anchor_set_grows_changes_and_is_replaced(log: FeedbackLog) -> None:
    def change(*examples: tuple[str, str], replace: bool = False) -> tuple[int, int, int]:
        done = log.import_anchor("m", examples, replace).result()
        return done.imported, done.total, done.set_number

    assert log.anchor_set_number("m") == 0
    assert change(("a", "x"), ("b", "y")) == (2, 2, 1)
    assert change(("a", "x")) == (0, 2, 1)
    assert change(("a", "z"), ("c", "x"), ("c", "y")) == (2, 3, 2)
    assert log.anchors("m") == [("a", "z"), ("b", "y"), ("c", "y")]
    assert change(("c", "y"), ("d", "x"), replace=True) == (2, 2, 3)
    assert log.anchors("m") == [("c", "y"), ("d", "x")]
    assert change(("c", "y"), ("d", "x"), replace=True)[1:] == (2, 3)
    assert log.anchor_set_number("m") == 3
    assert log.anchors("n") == []


def test_a_reader_tells_what_counted_at_a_position(log: FeedbackLog, path: Path) -> None:
    first, _ = submit(log, item("a", "one"), item("b", "two"))
    (withdrawn,) = submit(log, retraction("r", first.feedback_id))
    submit(log, item("c", "three"))

    def states(revision: int, entries: list[Entry]) -> tuple[int, list[str]]:
        return revision, [entry.state.name for entry in entries if entry.text]

    with FeedbackReader(path) as reader:
        assert states(2, reader.entries(0, 2)) == (2, ["ACTIVE", "ACTIVE"])
        assert states(3, reader.entries(0, 3)) == (3, ["RETRACTED", "ACTIVE"])
        assert states(*reader.counting("m", None)) == (4, ["RETRACTED", "ACTIVE", "ACTIVE"])
        # A pause holds what is said later, but not what is deleted later.
        assert states(*reader.counting("m", 2)) == (2, ["ACTIVE", "ACTIVE"])
        log.delete("m", Selector([withdrawn.feedback_id]), "ann").result()
        assert states(*reader.counting("m", 3)) == (5, ["ACTIVE", "ACTIVE"])


def test_a_reader_follows_the_log_in_order(log: FeedbackLog, path: Path) -> None:
    first, second = submit(log, item("a", "one"), item("b", "two", submitter="s", weight=3.0))
    with FeedbackReader(path) as reader:
        assert [entry.position for entry in reader.entries(0, 100)] == [1, 2]
        (withdrawn,) = submit(log, retraction("r", first.feedback_id))
        ids = [first.feedback_id, withdrawn.feedback_id]
        log.delete("m", Selector(ids), "ann").result()
        log.import_anchor("m", [("hi", "greeting")], replace=False).result()
        one, two, three, four = reader.entries(0, 100)
        assert (one.kind, one.text, one.text_hash, one.state) == (
            Kind.CORRECTION, "", b"", State.DELETED,
        )  # fmt: skip
        assert (two.model, two.feedback_id, two.text, two.label, two.submitter, two.weight) == (
            "m", second.feedback_id, "two", "greeting", "s", 3.0,
        )  # fmt: skip
        assert (two.text_hash, two.state) == (text_hash("two"), State.ACTIVE)
        assert (three.kind, three.retracts, three.state) == (Kind.RETRACTION, 1, State.DELETED)
        assert (four.kind, four.deletes, four.submitter) == (Kind.DELETION, (1, 3), "ann")
        assert reader.entries(2, 1) == [three]
        assert reader.counting("m", None) == (4, [one, two])
        assert reader.anchors("m") == [("hi", "greeting")]


def test_a_missing_or_damaged_log_is_refused_by_name(path: Path) -> None:
    with pytest.raises(StoreDamaged, match=r"feedback\.sqlite"):
        FeedbackReader(path)
    path.write_bytes(b"\0garbage" * 2_000)
    with pytest.raises(StoreDamaged, match=r"feedback\.sqlite is damaged: .*restore a backup"):
        FeedbackLog(path)


def bytes_of(path: Path) -> bytes:
    # Not with open(): closing it here would drop SQLite's locks of this process on the file.
    files = [str(file) for file in path.parent.glob(f"{path.name}*")]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def test_deleted_text_is_in_no_file_after_erasing(log: FeedbackLog, path: Path) -> None:
    rng, live, gone = random.Random(5), {}, []
    for step in range(60):
        texts = [
            f"secret-{rng.getrandbits(80):020x} " * rng.choice((1, 2, 30, 400)) for _ in "12345"
        ]
        items = (item(f"k{step}-{n}", text) for n, text in enumerate(texts))
        acks = submit(log, *items)
        live |= {ack.feedback_id: text for ack, text in zip(acks, texts, strict=True)}
        log.mark([rng.choice(acks).position], State.QUARANTINED, "d")
        chosen = rng.sample(sorted(live), 4)
        log.delete("m", Selector(chosen), "ann").result()
        gone += [live.pop(feedback_id) for feedback_id in chosen]
    assert any(text.encode() in bytes_of(path) for text in gone), "the search must be able to find"
    while marked := log.marked():
        log.blank([one.position for one in marked]).result()
    log.erase().result()
    left = bytes_of(path)
    assert not [text for text in gone if text[:27].encode() in left]
    assert all(text[:27].encode() in left for text in live.values())
    assert not [text for text in gone if text_hash(text) in left]


def long_item(number: int) -> NewFeedback:
    return item(f"k{number}", f"{number} " * 2_000)


def fill(log: FeedbackLog, acknowledged: list[Ack]) -> None:
    while True:
        acknowledged += submit(log, long_item(len(acknowledged)))


def test_a_full_disk_refuses_clearly_loses_nothing_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as mounted:
        disk = mounted.folder
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        log = FeedbackLog(disk / "feedback.sqlite")
        acknowledged: list[Ack] = []
        with pytest.raises(StoreFull, match="no room"):
            fill(log, acknowledged)
        assert [r.position for r in log.list("m", 0, 1_000)] == [a.position for a in acknowledged]
        assert log.failure is None
        ballast.unlink()
        acknowledged += submit(log, long_item(len(acknowledged)))
        assert not acknowledged[-1].already_recorded
        log.close()
        with closing(FeedbackLog(disk / "feedback.sqlite")) as log:
            found = log.list("m", 0, 1_000)
        assert [record.feedback_id for record in found] == [ack.feedback_id for ack in acknowledged]
        assert [r.text for r in found] == [long_item(n).text for n in range(len(found))]


def test_kill_9_loses_and_doubles_nothing(path: Path) -> None:
    rng, acknowledged = random.Random(3), {}
    program = [sys.executable, str(Path(feedback_writer.__file__)), str(path)]
    for _ in range(6):
        # Begins with the numbers that were sent but not acknowledged, as a client would.
        with subprocess.Popen(
            [*program, str(len(acknowledged))], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout
            lines = [writer.stdout.readline() for _ in range(rng.randrange(1, 200))]
            writer.kill()
            lines += writer.stdout.read().splitlines()
        for line in lines:
            if len(pair := line.split()) == 2:
                acknowledged[int(pair[0])] = int(pair[1])
    with closing(FeedbackLog(path)) as log:
        found = {int(r.idempotency_key[4:]): r for r in log.list("m", 0, 100_000)}
        assert len(found) == log.last_position("m")
    assert acknowledged.items() <= {n: r.position for n, r in found.items()}.items()
    for number, record in found.items():
        sent = feedback_writer.label(number)
        assert (record.text, record.label) == (sent.text, sent.label)


def test_power_loss_loses_nothing_acknowledged(tmp_path: Path) -> None:
    rng, acknowledged, images = random.Random(7), [], []

    def maybe_cut(_: str) -> None:
        if rng.random() < 0.1:
            images.append((tmp_path / f"cut-{len(images)}", list(acknowledged)))
            disk.power_cut(images[-1][0], rng)

    with forgetful_disk() as disk, closing(FeedbackLog(tmp_path / "feedback.sqlite")) as log:
        disk.on_io = maybe_cut
        for number in range(150):
            if len(images) < 20:
                acknowledged += submit(log, item(f"k{number}"))
    assert len(images) >= 20
    for image, acknowledged_then in images[:20]:
        with closing(FeedbackLog(image / "feedback.sqlite")) as log:
            found = {record.feedback_id for record in log.list("m", 0, 1_000)}
        assert {ack.feedback_id for ack in acknowledged_then} <= found
