"""The learning loop with many labels: it grows between them, and a new process goes on the same."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.feedback.log import (
    Ack,
    FeedbackLog,
    FeedbackReader,
    Kind,
    NewFeedback,
    Selector,
)
from honed_adapt.head import Head
from honed_adapt.instant.lane import Lane
from honed_adapt.instant.parking import Parking
from honed_adapt.process import messages
from honed_adapt.process.ahead import Encode
from honed_adapt.process.findings import Grown
from honed_adapt.process.loop import AdaptLoop
from honed_adapt.storage.vectors import VectorStore
from honed_adapt.storage.versions import VersionError

STATE = messages.ModelState("m", "d" * 64, 1, 0, None, 0, 0, None)
LABELS = ("invoice", "delivery", "return")


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector around its class's direction, from texts such as "delivery 7"."""
    vectors = np.zeros((len(texts), 8), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        name, number = text.split()
        row[LABELS.index(name)] = 1
        row += 0.3 * np.random.default_rng(int(number)).normal(size=8)
    return vectors


def encoder_of(digest: str) -> tuple[int, Encode]:
    """That of the first encoder; those of any other are longer by far."""
    scale = np.float32(1 if digest == STATE.encoder_digest else 7)
    return 8, lambda texts: scale * encode(texts)


def no_head(_model: str, _version: int) -> Head:
    raise VersionError("there is none")


class Process:
    """An adapt process on a real log; this plays the server, which accepts all."""

    def __init__(self, home: Path, log: FeedbackLog, recipe: dict[str, object]) -> None:
        self.log = log
        self.reader = FeedbackReader(home / "feedback.sqlite")
        self.vectors = VectorStore(home / "adapt.sqlite")
        self.offers: list[messages.Revision] = []
        self.tuned: set[str] = set()
        self.loop = AdaptLoop(
            self.reader,
            self.vectors,
            make_encode=encoder_of,
            was_tuned=lambda digest: digest in self.tuned,
            load_head=no_head,
            send=self._take,
            guard_items=2,
            trust={},
            parking=Parking(home / "parked", 0),
        )
        self.told(replace(STATE, recipe=recipe))

    def told(self, state: messages.ModelState) -> None:
        self.state = state
        self.loop.hear(messages.Models((state,)))

    def learn(self, position: int = 0) -> messages.Revision:
        self.loop.hear(messages.Wake(position))
        while self.loop.busy:
            self.loop.step()
        return self.offers[-1]

    def learn_until_ready(self) -> Lane:
        self.loop.step()  # builds the lane
        lane = self.loop.lane("m")
        while not lane.ready:
            self.loop.step()
        return lane

    def close(self) -> None:
        self.vectors.close()
        self.reader.close()

    def _take(self, message: messages.Message) -> None:
        if isinstance(message, messages.Revision):
            self.offers.append(message)
            accepted = messages.Verdict("m", message.revision, "accepted", "serves")
            self.loop.hear(accepted)
        if isinstance(message, Grown) and self.state.row_limit is None:
            self.loop.hear(messages.Wake(self.log.grow("m").result()))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    log = FeedbackLog(tmp_path / "feedback.sqlite")
    yield log
    log.close()


def say(log: FeedbackLog, numbers: range) -> int:
    items = [
        NewFeedback("m", f"key {n}", f"{LABELS[n % 3]} {n}", LABELS[n % 3], Kind.AUDIT)
        for n in numbers
    ]
    log.submit(items).result()
    return log.last_position("m")


def test_audits_of_texts_that_are_known_do_not_move_the_sets(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    process.learn(say(log, range(120)))
    process.learn(say(log, range(120, 130)))
    noted = process.vectors.misses("m")
    assert len(noted) == 10
    again = [
        NewFeedback("m", f"again {n}", f"{LABELS[n % 3]} {n}", LABELS[n % 3], Kind.AUDIT)
        for n in range(20)
    ]
    log.submit(again).result()
    process.learn(log.last_position("m"))
    assert process.vectors.misses("m") == noted
    process.close()


def test_a_new_process_serves_the_same_head_by_the_recipe_on_record(
    tmp_path: Path, log: FeedbackLog
) -> None:
    first = Process(tmp_path, log, {})
    first.learn(say(log, range(100)))
    for end in range(110, 200, 10):
        offer = first.learn(say(log, range(end - 10, end)))
    assert offer.recipe["features"] == 1_024
    assert offer.head.features is not None
    votes = dict(first.loop.lane("m").votes)
    assert len(votes) == 90
    first.close()

    second = Process(tmp_path, log, dict(offer.recipe))
    again = second.learn(offer.revision)
    assert (again.recipe, again.revision) == (offer.recipe, offer.revision)
    assert second.loop.lane("m").votes == votes
    np.testing.assert_allclose(again.head.weight, offer.head.weight, rtol=0, atol=1e-6)
    assert again.head.temperature == pytest.approx(offer.head.temperature, rel=1e-9)

    gone = [r.feedback_id for r in log.list("m", 0, 500)][110:120]
    log.delete("m", Selector(gone), "ada").result()
    second.learn(log.last_position("m"))
    assert len(second.vectors.votes("m", STATE.encoder_digest)) == 80
    second.close()


def test_over_a_new_encoder_a_recipe_is_decided_from_its_vectors(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    before = process.learn(say(log, range(100)))
    serves = replace(STATE, encoder_digest="e" * 64, epoch=2, revision=before.revision)
    process.told(replace(serves, recipe=None))
    after = process.learn(say(log, range(100, 101)))
    assert after.recipe["features"] == 1_024
    assert after.recipe["width"] == pytest.approx(7 * before.recipe["width"], rel=0.1)
    process.told(replace(serves, epoch=3, recipe=dict(after.recipe)))
    assert process.learn().recipe == after.recipe
    process.told(replace(STATE, epoch=4, recipe=dict(before.recipe)))
    assert process.learn().recipe == before.recipe
    process.close()


def test_what_was_only_imported_grows_by_itself_at_a_position_of_its_own(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    last = process.learn(say(log, range(100)))
    assert [(one.revision, one.growing) for one in process.offers[-2:]] == [
        (100, True),
        (101, False),
    ]
    assert process.offers[-2].recipe == {}
    assert last.recipe["features"] == 1_024
    assert log.list("m", 100, 10) == []  # nobody has submitted that entry
    process.close()


def test_labels_learned_and_deleted_leave_the_head_as_it_was(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    before = process.learn(say(log, range(100)))
    process.learn(say(log, range(100, 107)))
    gone = [one.feedback_id for one in log.list("m", before.revision, 50)]
    log.delete("m", Selector(gone), "ada").result()
    after = process.learn(log.last_position("m"))
    assert after.recipe == before.recipe
    assert after.head.labels == before.head.labels
    np.testing.assert_allclose(after.head.weight, before.head.weight, rtol=0, atol=1e-6)
    process.close()


def test_a_label_brings_in_what_is_ready_and_no_position_is_made_for_it(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    process.loop.hear(messages.Wake(say(log, range(100))))
    lane = process.learn_until_ready()
    assert lane.recipe.features == 0
    offer = process.learn(say(log, range(100, 101)))
    assert (offer.revision, offer.growing, offer.recipe["features"]) == (101, False, 1_024)
    assert log.last_position("m") == 101
    process.close()


def test_a_new_process_grows_what_the_one_before_has_left(tmp_path: Path, log: FeedbackLog) -> None:
    first = Process(tmp_path, log, {})
    first.loop.hear(messages.Wake(say(log, range(100))))
    first.learn_until_ready()
    first.close()
    second = Process(tmp_path, log, {})
    grown = second.learn()
    assert [(one.revision, one.growing) for one in second.offers] == [(100, True), (101, False)]
    assert grown.recipe["features"] == 1_024
    second.close()


def test_nothing_grows_while_learning_is_paused(tmp_path: Path, log: FeedbackLog) -> None:
    process = Process(tmp_path, log, {})
    paused = replace(STATE, revision=100, row_limit=100, pinned_at=100, epoch=2)
    process.told(paused)
    say(log, range(100))
    gone = [one.feedback_id for one in log.list("m", 0, 3)]
    log.delete("m", Selector(gone), "ada").result()
    assert process.learn().recipe == {}
    assert log.last_position("m") == 101
    process.told(replace(paused, row_limit=None, epoch=3, revision=101))
    grown = process.learn(log.resume("m", "ada").result())
    assert (grown.revision, grown.recipe["features"]) == (103, 1_024)
    process.close()


def test_a_withdrawal_that_is_deleted_leaves_the_regression(
    tmp_path: Path, log: FeedbackLog
) -> None:
    process = Process(tmp_path, log, {})
    before = process.learn(say(log, range(100)))
    label = log.list("m", 0, 1)[0].feedback_id
    withdrawal = NewFeedback("m", "w", "", "", Kind.RETRACTION, retracts=label)
    (ack,) = log.submit([withdrawal]).result()
    assert isinstance(ack, Ack)
    process.learn(ack.position)
    log.delete("m", Selector([ack.feedback_id]), "ada").result()  # the lane is built anew
    deletion = log.last_position("m")
    after = process.learn(deletion)
    assert (after.revision, after.learned, after.growing) == (deletion, 100, False)
    assert after.recipe["features"] == before.recipe["features"] == 1_024
    process.close()


def test_a_process_that_finds_all_labels_deleted_goes_on(tmp_path: Path, log: FeedbackLog) -> None:
    first = Process(tmp_path, log, {})
    offer = first.learn(say(log, range(100)))
    first.close()
    log.delete("m", Selector(), "ada").result()
    second = Process(tmp_path, log, dict(offer.recipe))
    empty = second.learn(log.last_position("m"))
    assert (empty.head.labels, empty.learned, empty.recipe) == ((), 0, {})
    assert second.learn(say(log, range(100, 110))).learned == 10
    second.close()


def test_other_anchors_leave_the_head_of_a_revision(tmp_path: Path, log: FeedbackLog) -> None:
    process = Process(tmp_path, log, {})
    before = process.learn(say(log, range(100)))
    log.import_anchor("m", [("invoice 7000", "invoice")], replace=True).result()
    process.told(replace(STATE, anchor_set=1))  # sent before the server heard of the last offer
    after = process.learn()
    assert (after.revision, after.anchor_total) == (before.revision, 1)
    assert after.recipe == before.recipe
    np.testing.assert_allclose(after.head.weight, before.head.weight, rtol=0, atol=1e-6)
    process.close()
