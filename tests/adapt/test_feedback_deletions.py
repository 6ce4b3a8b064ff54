"""Forgetting in the log: by whatever names it, in steps, with what counts decided once."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from honed_adapt.feedback.log import (
    KEY_OF_DELETED,
    Ack,
    FeedbackLog,
    FeedbackReader,
    KeyConflict,
    Kind,
    NewFeedback,
    Selector,
    State,
    text_hash,
)
from honed_adapt.trust.influence import Cap


def item(key: str, text: str = "hello", submitter: str = "") -> NewFeedback:
    return NewFeedback("m", key, text, "greeting", Kind.CORRECTION, submitter)


def submit(log: FeedbackLog, *items: NewFeedback) -> list:
    return log.submit(items).result()


def blank(log: FeedbackLog) -> list[int]:
    """Blanks all that is deleted, and erases it; how many entries each step took."""
    steps = []
    while marked := log.marked():
        log.blank([one.position for one in marked]).result()
        steps.append(len(marked))
    log.erase().result()
    return steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[FeedbackLog]:
    with closing(FeedbackLog(path)) as log:
        yield log


def test_a_large_deletion_is_whole_at_once_and_is_blanked_in_steps(tmp_path):
    path = tmp_path / "feedback.sqlite"
    with closing(FeedbackLog(path)) as log:
        submit(log, *[item(f"k{n}", f"Quill {n}", submitter="ada") for n in range(2500)])
        submit(log, item("other", "Quill stays", submitter="bob"))
        deletion = log.delete("m", Selector(submitter="ada"), "ann").result()
        assert (deletion.entries, deletion.first_position) == (2500, 1)
        records = log.list("m", 0, 5000)
        assert {(r.text, r.label, r.state) for r in records[:-1]} == {("", "", State.DELETED)}
        with closing(FeedbackReader(path)) as reader:
            (*entries, last) = reader.entries(0, 5000)
        assert last.deletes == tuple(range(1, 2501))
        assert {entry.text for entry in entries[:-1]} == {""}
    # Here the server died. The next one makes the steps that are left.
    assert b"Quill 2400" in path.read_bytes()
    with closing(FeedbackLog(path)) as log:
        assert blank(log) == [1000, 1000, 500]
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"Quill 2400" not in content
        assert b"Quill stays" in content
        again = log.delete("m", Selector(submitter="ada"), "ann").result()
        assert (again.position, again.entries, again.newest) == (0, 0, deletion.position)
        (row,) = log.deletions("m", ids=3)
        assert (row.submitter, row.first_position, len(row.feedback_ids)) == ("ada", 1, 3)


def test_entries_are_selected_by_the_time_of_recording(tmp_path):
    now = 100.0
    with closing(FeedbackLog(tmp_path / "feedback.sqlite", clock=lambda: now)) as log:
        for now in (100.0, 200.0, 300.0):
            submit(log, item(f"k{now}"), item(f"a{now}", submitter="ada"))
        chosen = Selector(recorded_from=200.0, recorded_until=300.0)
        assert log.delete("m", Selector([]), "ann").result().entries == 0
        assert log.delete("m", chosen, "ann").result().entries == 2
        states = [record.state for record in log.list("m", 0, 9)]
        assert states == [State.ACTIVE] * 2 + [State.DELETED] * 2 + [State.ACTIVE] * 2
        later = Selector(submitter="ada", recorded_from=200.0)
        assert log.delete("m", later, "ann").result().entries == 1


def test_what_is_deleted_tells_its_answers_until_it_is_blanked(log):
    about = NewFeedback("m", "k1", "Quill", "greeting", Kind.AUDIT, "ada", prediction_id="p1")
    submit(log, about, item("k2", "Quince", "ada"), item("k3", "stays", "bob"))
    log.delete("m", Selector(submitter="ada"), "ann").result()
    marked = log.marked()
    assert [(one.model, one.prediction_id, one.text) for one in marked] == [
        ("m", "p1", "Quill"),
        ("m", "", "Quince"),
    ]
    log.blank([one.position for one in marked[:1]] + [3]).result()
    assert log.marked() == marked[1:]
    assert log.list("m", 2, 1)[0].text == "stays"  # it is not deleted


def test_a_key_that_tells_of_the_text_is_known_again_and_in_no_file(tmp_path):
    path = tmp_path / "feedback.sqlite"
    keys = [sha256(f"text {n}".encode()).hexdigest() for n in range(1_500)]
    items = [item(key, f"text {n}", "ada") for n, key in enumerate(keys)]
    with closing(FeedbackLog(path)) as log:
        acks = submit(log, *items)
        chosen = [ack.feedback_id for ack in acks[::3]]
        log.delete("m", Selector(chosen), "ann").result()
        assert {r.idempotency_key for r in log.list("m", 0, 2_000)[::3]} == {""}
        before = submit(log, *items[:6])
        assert blank(log) == [500]
        assert [type(one) for one in before] == [KeyConflict, Ack, Ack] * 2
        # Neither the keys nor what anybody could compute from them are left.
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert [key.encode() in content for key in keys] == [False, True, True] * 500
        assert not any(bytes.fromhex(key) in content for key in keys[::3])
    with closing(FeedbackLog(path)) as log:
        after = submit(log, *items)
        assert {one.reason for one in after[::3]} == {KEY_OF_DELETED}
        assert all(one.already_recorded for n, one in enumerate(after) if n % 3)
        other = replace(items[0], model="n")
        assert isinstance(submit(log, other)[0], Ack)


def test_tombstones_of_an_earlier_honed_lose_their_keys(tmp_path):
    path = tmp_path / "feedback.sqlite"
    with closing(FeedbackLog(path)) as log:
        gone, _ = submit(log, item("the key", "Quill"), item("other"))
        log.delete("m", Selector([gone.feedback_id]), "ann").result()
        blank(log)
    with closing(apsw.Connection(str(path))) as file:
        file.execute("DROP INDEX log_seal; DROP INDEX log_audits; DROP INDEX log_noticed")
        file.execute("DROP TABLE key_secret")
        file.execute("ALTER TABLE log DROP COLUMN key_seal")
        file.execute("ALTER TABLE log DROP COLUMN shares")
        file.execute("UPDATE log SET idempotency_key = 'the key' WHERE position = 1")
        file.pragma("user_version", 2)
    with closing(FeedbackLog(path)) as log:
        assert blank(log) == [1]
        again, other = submit(log, item("the key", "Quill"), item("other"))
        assert (again.reason, other.already_recorded) == (KEY_OF_DELETED, True)
        assert b"the key" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_what_counts_of_a_label_is_decided_at_arrival_and_kept(tmp_path):
    path, cap = tmp_path / "feedback.sqlite", Cap(share=0.05, least_rows=100)
    crowd = [item(f"s{n}", f"text {n}", submitter=f"s{n % 25}") for n in range(200)]
    with closing(FeedbackLog(path, cap=cap)) as log:
        submit(log, *crowd)
        submit(log, *[item(f"e{n}", f"eve {n}", submitter="eve") for n in range(60)])
        before = [record.influence for record in log.list("m", 0, 500, submitter="eve")]
        assert before[0] == 1.0
        assert before[-1] == cap.floor
        assert 10 <= sum(before) <= 13
        log.delete("m", Selector(submitter="s1"), "ann").result()
    with closing(FeedbackLog(path, cap=cap)) as log, closing(FeedbackReader(path)) as reader:
        records = log.list("m", 0, 500, submitter="eve")
        assert [record.influence for record in records] == before
        assert [record.weight for record in records] == [1.0] * 60
        entries = [entry for entry in reader.entries(0, 500) if entry.submitter == "eve"]
        assert [entry.weight for entry in entries] == before


def test_labels_that_are_set_aside_are_named_by_an_entry(log, path):
    acks = submit(log, *[item(f"k{n}", f"text {n}") for n in range(4)])
    position = log.set_aside("m", [acks[1].position, acks[2].position], "d1").result()
    with closing(FeedbackReader(path)) as reader:
        (*_, entry) = reader.entries(0, 10)
    assert (entry.position, entry.kind) == (position, Kind.DISTRUST)
    assert entry.sets_aside == (2, 3)
    states = [record.state for record in log.list("m", 0, 10)]
    assert states == [State.ACTIVE, State.QUARANTINED, State.QUARANTINED, State.ACTIVE]
    assert log.last_position("m") == position


def test_texts_past_their_time_go_and_labels_stay(tmp_path):
    now = 100.0
    with closing(FeedbackLog(tmp_path / "feedback.sqlite", clock=lambda: now)) as log:
        submit(log, item("old", "Quill speaks"))
        now = 200.0
        submit(log, item("new", "hello"))
        assert log.forget_texts(150.0, 10).result() == 1
        assert log.forget_texts(150.0, 10).result() == 0
        log.erase().result()
        old, new = log.list("m", 0, 10)
        assert (old.text, old.label, old.text_hash) == ("", "greeting", text_hash("Quill speaks"))
        assert new.text == "hello"
        (again,) = submit(log, item("old", "Quill speaks"))
        assert again.already_recorded
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"Quill" not in content
