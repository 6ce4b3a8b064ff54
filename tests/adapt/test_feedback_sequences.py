"""Any sequence of submissions, retractions, marks, deletions and restarts equals a plain model."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from honed_adapt.feedback.log import (
    Ack,
    FeedbackLog,
    FeedbackReader,
    KeyConflict,
    Kind,
    NewFeedback,
    Selector,
    State,
    UnknownFeedback,
)

MARKS = st.sampled_from([State.ACTIVE, State.QUARANTINED, State.EXCLUDED])


@dataclass
class Line:
    position: int
    feedback_id: str
    item: NewFeedback
    mark: State = State.ACTIVE
    deleted: bool = False


class Sequences(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "feedback.sqlite"
        self.log = FeedbackLog(self.path)
        self.lines: list[Line] = []
        self.position = 0
        self.deletions: dict[int, tuple[int, ...]] = {}

    def teardown(self) -> None:
        self.log.close()
        self.folder.cleanup()

    def line_of(self, key: str) -> Line | None:
        return next((line for line in self.lines if line.item.idempotency_key == key), None)

    def submit(self, item: NewFeedback, allowed: bool = True) -> None:
        (result,) = self.log.submit([item]).result()
        known = self.line_of(item.idempotency_key)
        if known is not None and not known.deleted and known.item == item:
            assert result == Ack(known.feedback_id, known.position, already_recorded=True)
        elif known is not None:
            assert isinstance(result, KeyConflict)
        elif not allowed:
            assert isinstance(result, UnknownFeedback)
        else:
            self.position += 1
            assert (result.position, result.already_recorded) == (self.position, False)
            self.lines.append(Line(self.position, result.feedback_id, item))

    @rule(key=st.integers(0, 30), text=st.text(min_size=1, max_size=3), label=st.sampled_from("xy"))
    def submit_label(self, key: int, text: str, label: str) -> None:
        self.submit(NewFeedback("m", str(key), text, label, Kind.CORRECTION))

    @precondition(lambda self: self.lines)
    @rule(key=st.integers(0, 30), data=st.data())
    def retract(self, key: int, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(self.lines))
        allowed = target.item.kind is not Kind.RETRACTION and not target.deleted
        item = NewFeedback("m", str(key), "", "", Kind.RETRACTION, retracts=target.feedback_id)
        self.submit(item, allowed)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.lines), min_size=1, max_size=3))
        fresh = sorted({line.position for line in chosen if not line.deleted})
        selector = Selector([line.feedback_id for line in chosen])
        deletion = self.log.delete("m", selector, "ann").result()
        if fresh:
            self.position += 1
            self.deletions[self.position] = tuple(fresh)
        assert deletion.position == (self.position if fresh else 0)
        assert deletion.first_position == (fresh[0] if fresh else 0)
        for line in chosen:
            line.deleted = True

    @precondition(lambda self: self.lines)
    @rule(state=MARKS, data=st.data())
    def mark(self, state: State, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.lines), max_size=3))
        self.log.mark([line.position for line in chosen], state, "d").result()
        for line in chosen:
            if line.item.kind is not Kind.RETRACTION and not line.deleted:
                line.mark = state if state is State.ACTIVE else max(line.mark, state)

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = FeedbackLog(self.path)

    def expected(self) -> Iterable[tuple[int, str, str, State]]:
        retracted = {
            line.item.retracts
            for line in self.lines
            if line.item.kind is Kind.RETRACTION and not line.deleted
        }
        for line in self.lines:
            item = line.item
            if line.deleted:
                yield line.position, "", "", State.DELETED
            elif line.feedback_id in retracted:
                yield line.position, item.text, item.label, State.RETRACTED
            else:
                yield line.position, item.text, item.label, line.mark

    @invariant()
    def equals_the_plain_model(self) -> None:
        expected = list(self.expected())
        records = self.log.list("m", 0, 1_000)
        assert [(r.position, r.text, r.label, r.state) for r in records] == expected
        assert self.log.last_position("m") == self.position
        with FeedbackReader(self.path) as reader:
            entries = reader.entries(0, 1_000)
        submitted = [e for e in entries if e.kind is not Kind.DELETION]
        assert [(e.position, e.text, e.label, e.state) for e in submitted] == expected
        deletions = {e.position: e.deletes for e in entries if e.kind is Kind.DELETION}
        assert deletions == self.deletions


Sequences.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSequences = Sequences.TestCase
