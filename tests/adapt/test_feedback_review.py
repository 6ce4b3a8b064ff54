"""What the log says about labelled answers and about who labels."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from honed_adapt.feedback.log import (
    Ack,
    FeedbackLog,
    Kind,
    NewFeedback,
    Selector,
    State,
    text_hash,
)
from honed_adapt.feedback.questions import answers, audited, labelled_texts, treatments

BOTH = [Kind.CORRECTION, Kind.CONFIRMATION]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    with closing(FeedbackLog(tmp_path / "feedback.sqlite")) as log:
        yield log


def record(log: FeedbackLog, key: str, kind: Kind = Kind.AUDIT, **more) -> Ack:
    facts = {"text": f"text {key}", "label": "a", "predicted_label": "a", "prediction_id": key}
    (ack,) = log.submit([NewFeedback("m", key, **{**facts, **more}, kind=kind)]).result()
    return ack


def told(log: FeedbackLog, kinds: list[Kind], limit: int = 100) -> list[tuple[int, bool]]:
    return [(one.position, one.right) for one in log.ask(lambda db: answers(db, "m", kinds, limit))]


def test_answers_that_stand_are_told_by_kind_the_newest_ones(log: FeedbackLog) -> None:
    record(log, "1")
    record(log, "2", predicted_label="b")
    record(log, "3", Kind.CORRECTION, predicted_label="b")
    record(log, "4", Kind.CONFIRMATION)
    record(log, "5", predicted_label="")  # nothing is known of an answer
    record(log, "6")
    assert told(log, [Kind.AUDIT]) == [(1, True), (2, False), (6, True)]
    assert told(log, [Kind.AUDIT], 2) == [(2, False), (6, True)]
    assert told(log, BOTH) == [(3, False), (4, True)]


def test_what_is_withdrawn_deleted_or_refused_counts_no_more(log: FeedbackLog) -> None:
    first, second, third = (record(log, key) for key in "123")
    record(log, "4", predicted_label="b")
    taken_back = NewFeedback("m", "r", "", "", Kind.RETRACTION, retracts=first.feedback_id)
    log.submit([taken_back]).result()
    log.delete("m", Selector([second.feedback_id]), "me").result()
    log.mark([third.position], State.QUARANTINED, "d").result()
    assert told(log, [Kind.AUDIT]) == [(4, False)]
    texts = [text_hash(f"text {key}") for key in "1234"]
    assert log.ask(lambda db: labelled_texts(db, "m", texts)) == {texts[3]}


def test_an_audited_answer_is_not_audited_again(log: FeedbackLog) -> None:
    record(log, "1")
    record(log, "2", Kind.CORRECTION)
    assert log.ask(lambda db: audited(db, "m", ["1", "2", "3"])) == {"1"}
    assert log.ask(lambda db: audited(db, "other", ["1"])) == set()
    texts = [text_hash("text 1"), text_hash("text 2"), text_hash("text 9")]
    assert log.ask(lambda db: labelled_texts(db, "m", texts)) == set(texts[:2])
    assert log.ask(lambda db: labelled_texts(db, "other", texts)) == set()


def test_what_became_of_a_submitters_labels_is_told(log: FeedbackLog) -> None:
    record(log, "1", submitter="ann")
    bad = record(log, "2", submitter="eve")
    record(log, "3", submitter="eve")
    log.mark([bad.position], State.QUARANTINED, "d").result()
    found = log.ask(lambda db: treatments(db, "m"))
    assert {name: one.quarantined for name, one in found.items()} == {"ann": 0, "eve": 1}
    assert {one.capped_share for one in found.values()} == {0.0}


def test_entries_are_found_by_position(log: FeedbackLog) -> None:
    first, second = record(log, "1"), record(log, "2")
    found = log.at("m", [second.position, first.position, 99])
    assert [one.feedback_id for one in found] == [first.feedback_id, second.feedback_id]
    assert log.at("other", [first.position]) == []
