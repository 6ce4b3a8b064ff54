"""What had been learned when: labels, retractions, deletions, marks and pauses in every order."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from honed_adapt.feedback.log import Ack, FeedbackLog, Kind, NewFeedback, Selector, State
from honed_adapt.feedback.reader import FeedbackReader
from honed_server.models.history import Moment, learned
from honed_server.models.registry import DecisionRow, VersionRow, VersionState


class Log:
    """A real log of one model, and its history as `learned` is asked about it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.log = FeedbackLog(path)
        self.decisions: list[DecisionRow] = []

    def submit(self, key: str, kind: Kind = Kind.AUDIT, **fields: str) -> Ack:
        text = "" if kind is Kind.RETRACTION else f"text {key}"
        item = NewFeedback("m", key, text, "label" if text else "", kind, **fields)
        (ack,) = self.log.submit([item]).result()
        assert isinstance(ack, Ack)
        return ack

    def labels(self, number: int) -> list[Ack]:
        return [self.submit(f"key {n}") for n in range(number)]

    def decide(self, kind: str, outcome: str = "", *, version: int = 0, **numbers: object) -> None:
        """A decision; the n-th is made at n seconds."""
        time = len(self.decisions) + 1
        row = DecisionRow(f"d{time}", "m", kind, outcome, version, "ada", "", numbers, time)
        self.decisions.append(row)

    def learned(self, revision: int, time: float = 100.0) -> list[int]:
        """Positions of the labels that counted at a revision, as it served at `time`."""
        moment = Moment.of(version(9, 0), revision, self.decisions, time)
        with FeedbackReader(self._path) as reader:
            records = reader.history("m")
        found = learned(records, moment, {n: version(n, 10 * n) for n in range(1, 4)})
        return [record.position for record in found]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "feedback.sqlite")
    with closing(log.log):
        yield log


def version(number: int, position: int, source: str = "candidate") -> VersionRow:
    state = VersionState.RETIRED
    return VersionRow("m", number, state, 1, "digest", position, 3, 0.0, source, "sha", "d", 0)


def test_a_retraction_counts_from_its_position_until_it_is_deleted(log: Log) -> None:
    first, _ = log.labels(2)
    retraction = log.submit("r", Kind.RETRACTION, retracts=first.feedback_id)
    log.log.delete("m", Selector([retraction.feedback_id]), "ada").result()
    assert [log.learned(revision) for revision in range(1, 5)] == [[1], [1, 2], [2], [1, 2]]


def test_a_deleted_label_counts_until_the_deletion(log: Log) -> None:
    first, _ = log.labels(2)
    log.log.delete("m", Selector([first.feedback_id]), "ada").result()
    assert [log.learned(revision) for revision in range(1, 4)] == [[1], [1, 2], [2]]


def test_quarantine_and_exclusion_count_from_their_decision(log: Log) -> None:
    log.labels(4)
    log.decide("quarantine", positions=[2])
    log.log.mark([2], State.QUARANTINED, "d1").result()
    log.decide("resume", excluded_positions=[3])
    log.log.mark([3], State.EXCLUDED, "d2").result()
    assert log.learned(4, time=0.5) == [1, 2, 3, 4]
    assert log.learned(4, time=1.5) == [1, 3, 4]
    assert log.learned(4, time=2.5) == [1, 4]


def test_a_mark_without_its_decision_counts_as_ever(log: Log) -> None:
    log.labels(2)
    log.log.mark([2], State.QUARANTINED, "lost in a crash").result()
    assert log.learned(2, time=0.5) == [1]


@pytest.mark.parametrize(
    ("decided", "limit"),
    [
        ([("pause", 5, {"revision": 12})], 12),
        ([("rollback", 2, {"suspect_from": 21})], 20),
        ([("rollback", 2, {})], 30),  # a start that met a damaged version
        ([("promote", 1, {})], 30),
        ([("pause", 5, {"revision": 12}), ("promote", 2, {})], 20),
        ([("pause", 5, {"revision": 12}), ("resume", 0, {})], 30),
    ],
)
def test_while_learning_is_paused_later_labels_do_not_count(
    log: Log, decided: Sequence[tuple[str, int, dict[str, int]]], limit: int
) -> None:
    log.labels(31)
    for kind, number, numbers in decided:
        log.decide(kind, version=number, **numbers)
    assert log.learned(30) == list(range(1, limit + 1))


@pytest.mark.parametrize(("revision", "from_disk"), [(40, True), (41, False)])
def test_whose_head_served(log: Log, revision: int, from_disk: bool) -> None:
    moment = Moment.of(version(4, 40), revision, log.decisions, 100.0)
    assert moment.from_disk is from_disk


def test_distrust_counts_from_its_position_and_until_it_is_taken_back(log: Log) -> None:
    first, second, third = log.labels(3)
    everything = [ack.position for ack in (first, second, third)]
    at = log.log.set_aside("m", [second.position], "d1").result()
    log.decide("trust", "distrusted", submitter="eve", positions=[second.position], position=at)
    left = [first.position, third.position]
    # An answer may have been given by the old revision after the decision.
    assert log.learned(third.position) == everything
    assert log.learned(at) == left
    log.log.mark([second.position], State.ACTIVE, "d2").result()
    again = log.log.resume("m", "settings").result()
    log.decide("trust", "trusted", restored=[second.position], position=again)
    assert log.learned(again) == everything
    assert log.learned(at) == left
