"""What a trainer does for a round, with a line to a server that the test plays."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from checkpoints import save_encoder
from honed_adapt.encoders.lineage import read_lineage, write_lineage
from honed_adapt.encoders.store import import_encoder, open_encoder
from honed_adapt.feedback.log import FeedbackLog, FeedbackReader, Kind, NewFeedback, Selector
from honed_adapt.feedback.values import State
from honed_adapt.head import Head
from honed_adapt.process import messages
from honed_adapt.storage import versions
from honed_adapt.storage.vectors import VectorStore
from honed_adapt.storage.vectors_file import adopt
from honed_server.rounds.files import work_folder
from honed_server.rounds.work import RoundWork, Unfit

CLASSES = ("grant", "notice", "patent")
_NONE = 99  # a version that is not there: nothing can be heard of it
_ROUNDS = count(2)


class Line:
    """The server's end, as a trainer sees it; `at_pause` happens once at the n-th pause."""

    def __init__(self, at: int = 0, at_pause: Callable[[], object] = lambda: None) -> None:
        self.said: list[messages.Message] = []
        self.at_late_pause: Callable[[], object] = lambda: None  # each one while heads are learned
        self._at, self._at_pause = at, at_pause
        self._answers = deque[messages.Message]()
        self._pauses = 0

    def pause(self) -> None:
        self._pauses += 1
        if self._pauses == self._at:
            self._at_pause()
        if any(isinstance(one, messages.VectorsReady) for one in self.said):
            self.at_late_pause()

    def send(self, message: messages.Message) -> None:
        assert messages.encode(message)  # it can travel
        self.said.append(message)
        if isinstance(message, messages.Candidate):
            self._answers.append(messages.Verdict(message.model, 2, "candidate", "fine"))

    def hear(self) -> messages.Message:
        return self._answers.popleft()

    def candidates(self) -> list[messages.Candidate]:
        return [one for one in self.said if isinstance(one, messages.Candidate)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "adapt").mkdir()
    return tmp_path


@pytest.fixture
def digest(home: Path) -> str:
    return import_encoder(save_encoder(home / "source"), home)


@pytest.fixture
def log(home: Path) -> Iterator[FeedbackLog]:
    with closing(FeedbackLog(home / "feedback.sqlite")) as log:
        log.submit([item(n) for n in range(60)]).result()
        yield log


def item(n: int, **facts) -> NewFeedback:
    name = CLASSES[n % 3]
    return NewFeedback("m", f"k{n}", f"the {name} number {n}", name, Kind.AUDIT, **facts)


def order(digest: str, **facts) -> messages.Train:
    models = (messages.RoundModel("m", 1),)
    return messages.Train("r1", 0, "full", 3, encoder_digest=digest, models=models, **facts)


def test_a_round_offers_a_head_over_a_new_encoder(home, digest, log):
    line = Line()
    log.import_anchor("m", [("the grant number 3", "grant")], False).result()
    ended = RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    assert (ended.outcome, ended.encoder_digest) == ("done", offer.encoder_digest)
    assert offer.log_position == log.last_position("m")
    assert (offer.seed, offer.round_id) == (3, "r1")
    assert set(offer.head.labels) == set(CLASSES)
    assert offer.hyper_parameters["kind"] == "full"
    lineage = read_lineage(home, offer.encoder_digest)
    assert lineage is not None
    assert (lineage.base, lineage.parent, lineage.round_id) == (digest, digest, "r1")
    assert lineage.trained_to == {"m": offer.log_position}
    with VectorStore(home / "adapt" / "adapt.sqlite") as store:
        adopt(home, store, lambda _model: range(1, 61), offer.encoder_digest)
        kept = store.load("m", offer.encoder_digest, range(1, 61))
    assert len(kept) == 60  # the anchor's text too: it is learned, only not trained on
    assert open_encoder(home, offer.encoder_digest).hidden == kept[1].size


def test_what_is_deleted_meanwhile_is_not_in_what_is_offered(home, digest, log):
    first = log.list("m", 0, 1)[0].feedback_id

    def forget() -> None:
        log.delete("m", Selector([first]), "test").result()

    line = Line(12, forget)
    RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    deletion = log.last_position("m")
    assert offer.log_position >= deletion
    lineage = read_lineage(home, offer.encoder_digest)
    assert lineage is not None
    assert lineage.trained_to["m"] >= deletion  # it was trained anew, without it
    with VectorStore(home / "adapt" / "adapt.sqlite") as store:
        adopt(home, store, lambda _model: range(1, 61), offer.encoder_digest)
        assert 1 not in store.load("m", offer.encoder_digest, range(1, 61))


def test_labels_that_come_meanwhile_are_learned_by_the_head(home, digest, log):
    extra = replace(item(0), idempotency_key="late", text="a licence", label="licence")
    line = Line(12, lambda: log.submit([extra]).result())
    RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    assert offer.log_position == log.last_position("m")
    assert "licence" in offer.head.labels


def test_labels_that_come_while_the_head_is_learned_are_in_it_too(home, digest, log):
    log.submit([item(n) for n in range(60, 80)]).result()  # enough for a regression
    late = iter([replace(item(0), idempotency_key="late", text="a licence", label="licence")])
    line = Line()
    line.at_late_pause = lambda: [log.submit([one]).result() for one in late]
    RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    assert offer.log_position == log.last_position("m") == 81
    assert "licence" in offer.head.labels


def test_a_round_ends_though_labels_never_do(home, digest, log):
    log.submit([item(n) for n in range(60, 80)]).result()
    more = count(80)
    line = Line()
    line.at_late_pause = lambda: log.submit([item(next(more))]).result()
    ended = RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    assert ended.outcome == "done"
    assert 80 < offer.log_position < log.last_position("m")


def test_the_head_makes_the_promises_that_the_policy_wants(home, digest, log):
    def offered(**wanted: float) -> Head:
        line = Line()
        models = (messages.RoundModel("m", 1, **wanted),)
        RoundWork(home, replace(order(digest), models=models), line, {}).run()
        return line.candidates()[0].head

    usual, narrow = offered(), offered(false_alarms=0.4, coverage=0.5)
    assert usual.threshold is not None
    assert usual.conformal is not None
    assert narrow.threshold < usual.threshold  # more is out of scope
    assert narrow.conformal > usual.conformal  # and sets hold less


def test_the_next_round_begins_at_the_base_and_listens_to_the_champion(home, digest, log):
    first = Line()
    RoundWork(home, order(digest), first, {}).run()
    (champion,) = first.candidates()
    _serve(home, champion)
    log.submit([item(n) for n in range(60, 75)]).result()
    second = Line()
    again = replace(order(champion.encoder_digest), round_id="r2")
    RoundWork(home, again, second, {}).run()
    (offer,) = second.candidates()
    lineage = read_lineage(home, offer.encoder_digest)
    assert lineage is not None
    assert (lineage.base, lineage.parent) == (digest, champion.encoder_digest)
    assert offer.metrics["held"] > 0
    assert 0 <= offer.metrics["champion_accuracy"] <= 1


def test_a_champion_that_knows_what_was_deleted_since_is_not_asked(home, digest, log):
    """Nor is one that was trained together with a model of which something was deleted."""
    other = replace(item(0), model="other", idempotency_key="o", text="a licence", label="licence")
    log.submit([other, *(item(n) for n in range(60, 75))]).result()
    first = Line()
    RoundWork(home, order(digest), first, {}).run()
    (champion,) = first.candidates()
    _serve(home, champion)
    made = read_lineage(home, champion.encoder_digest)
    assert made is not None
    seen = {**made.trained_to, "other": log.last_position("other")}
    write_lineage(home, champion.encoder_digest, replace(made, trained_to=seen))
    log.submit([item(n) for n in range(75, 90)]).result()

    def trained(version: int = 1) -> tuple[str, Mapping[str, int]]:
        return _next(home, champion.encoder_digest, version)

    heard, seen_by_it = trained()
    # What the champion had seen of others can be in it too, and must be known when it is deleted.
    assert seen_by_it == {"m": log.last_position("m"), "other": seen["other"]}
    alone, seen_alone = trained(_NONE)
    assert alone != heard
    assert seen_alone == {"m": log.last_position("m")}
    # What came after the champion was trained is no reason, nor what is gone since before that.
    log.submit([replace(other, idempotency_key="p", text="two licences")]).result()
    log.delete("other", Selector([log.list("other", 0, 9)[-1].feedback_id]), "test").result()
    assert trained()[0] == heard
    log.delete("other", Selector([log.list("other", 0, 9)[0].feedback_id]), "test").result()
    assert trained() == (alone, seen_alone)


def test_a_champion_is_heard_again_once_it_was_trained_without_what_was_deleted(home, digest, log):
    line = Line()
    RoundWork(home, order(digest), line, {}).run()
    _serve(home, line.candidates()[0])
    first = line.candidates()[0].encoder_digest
    log.submit([item(n) for n in range(60, 75)]).result()
    log.delete("m", Selector([log.list("m", 0, 1)[0].feedback_id]), "test").result()
    second, _ = _next(home, first, 1)
    assert second == _next(home, first, _NONE)[0]
    _serve(home, replace(line.candidates()[0], encoder_digest=second, log_position=76), version=2)
    log.submit([item(n) for n in range(75, 90)]).result()
    assert _next(home, second, 2)[0] != _next(home, second, _NONE)[0]


def test_a_champion_whose_head_has_learned_what_was_deleted_is_not_asked(home, digest, log):
    line = Line()
    RoundWork(home, order(digest), line, {}).run()
    (offer,) = line.candidates()
    log.submit([item(n) for n in range(60, 75)]).result()
    _serve(home, replace(offer, log_position=log.last_position("m")))
    log.delete("m", Selector([log.list("m", 0, 70)[-1].feedback_id]), "test").result()
    encoder = offer.encoder_digest
    assert _next(home, encoder, 1)[0] == _next(home, encoder, _NONE)[0]


def _next(home: Path, encoder: str, version: int) -> tuple[str, Mapping[str, int]]:
    """The encoder of a round with that champion, and what it has seen."""
    models, line = (messages.RoundModel("m", version),), Line()
    again = replace(order(encoder), models=models, round_id=f"r{next(_ROUNDS)}")
    RoundWork(home, again, line, {}).run()
    (offer,) = line.candidates()
    lineage = read_lineage(home, offer.encoder_digest)
    assert lineage is not None
    return offer.encoder_digest, lineage.trained_to


def _serve(home: Path, offer: messages.Candidate, version: int = 1) -> None:
    """That version is the champion, and its vectors are where the adapt process keeps them."""
    manifest = versions.Manifest(
        "m", version, 0, offer.encoder_digest, offer.log_position, 1, "d", "x"
    )
    versions.write(home / "models", manifest, offer.head)
    with VectorStore(home / "adapt" / "adapt.sqlite") as store:
        adopt(home, store, lambda _model: range(1, 200), offer.encoder_digest)


def test_a_round_without_enough_labels_says_so(home, digest):
    with closing(FeedbackLog(home / "feedback.sqlite")) as log:
        log.submit([replace(item(3 * n), label="one") for n in range(9)]).result()
        with pytest.raises(Unfit, match="labels of 1 classes"):
            RoundWork(home, order(digest), Line(), {}).run()


def test_a_model_that_cannot_be_trained_is_left_out_of_its_group(home, digest, log):
    log.submit([replace(item(3 * n), model="one", label="one") for n in range(9)]).result()
    models = tuple(messages.RoundModel(name, 1) for name in ("m", "none", "one"))
    line = Line()
    ended = RoundWork(home, replace(order(digest), models=models), line, {}).run()
    assert [offer.model for offer in line.candidates()] == ["m"]
    assert ended.outcome == "done"
    assert "none: left out (there are no labels with a text to train on)" in ended.reason
    assert "one: left out (there are labels of 1 classes" in ended.reason
    assert "m: candidate (fine)" in ended.reason


def test_only_active_labels_train(home, digest, log):
    marked = [record.position for record in log.list("m", 0, 20)]
    log.mark(marked, State.QUARANTINED, "d").result()
    line = Line()
    ended = RoundWork(home, order(digest), line, {}).run()
    assert ended.metrics["examples"] == 40
    with FeedbackReader(home / "feedback.sqlite") as reader:
        assert len(reader.counting("m", None)[1]) == 60
    assert isinstance(line.candidates()[0].head, Head)
    assert np.isfinite(line.candidates()[0].head.weight).all()
    assert work_folder(home, "r1").is_dir()  # the server removes it when the round has ended
