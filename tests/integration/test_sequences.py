"""Any history of labels, retractions, deletions and restarts equals a build from what is left."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from journeys import caught_up, examples, fresh_lane, logit_error, wait_for

from harness import RunningServer
from honed import Client, FeedbackItem, InvalidRequest
from honed_adapt.encoders.store import default_source, import_encoder
from honed_adapt.feedback.log import (
    FeedbackLog,
    FeedbackReader,
    Kind,
    NewFeedback,
    Selector,
    State,
    text_hash,
)
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.process import messages
from honed_adapt.process.ahead import Encode
from honed_adapt.process.loop import AdaptLoop
from honed_adapt.storage.vectors import VectorStore
from honed_server.learning.adapt_main import load_head, make_encode

TEXTS = [text for text, _ in examples(slice(2))[::2]]
ASKED = [text for text, _ in examples(slice(6, 7))]
TRUST = {"expert": 2.0}


@dataclass(frozen=True)
class Say:
    """A label for a text; the same text may get many."""

    text: int
    label: str
    submitter: str
    weight: float


@dataclass(frozen=True)
class Undo:
    """A retraction, or a deletion, of one of the entries so far."""

    which: int
    deletes: bool


SAY = st.builds(
    Say,
    st.integers(0, len(TEXTS) - 1),
    st.sampled_from(["track", "refund", "broken", "price"]),
    st.sampled_from(["ada", "bob", "expert"]),
    st.sampled_from([0.2, 1.0, 10.0]),
)
UNDO = st.builds(Undo, st.integers(0, 1_000), st.booleans())
STEPS = st.lists(st.one_of(SAY, SAY, SAY, UNDO), max_size=12)
# Shrinking would take minutes here; the unit tests of the lane shrink.
FEW = settings(
    deadline=None,
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


class Restartable:
    """A server that can be stopped and started again between two steps."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()
        self._models = (f"m{n}" for n in count())

    def start(self) -> None:
        self.server = RunningServer(self.home, example=False, submitter_trust=TRUST)
        self.client = self.server.client()

    def stop(self) -> None:
        self.client.close()
        self.server.close()

    def new_model(self) -> str:
        model = next(self._models)
        self.client.create_model(model)
        return model


@pytest.fixture(scope="module")
def restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    one = Restartable(tmp_path_factory.mktemp("sequences"))
    yield one
    one.stop()


def take(client: Client, model: str, steps: list[Say | Undo], entries: list[str]) -> None:
    """Carries the steps out through the API; `entries` are the feedback ids so far."""
    for step in steps:
        if isinstance(step, Say):
            item = FeedbackItem(
                TEXTS[step.text], step.label, submitter=step.submitter, weight=step.weight
            )
            (ack,) = client.submit_many(model, [item], wait=True)
            assert ack.served
            entries.append(ack.feedback_id)
        elif entries:
            feedback_id = entries[step.which % len(entries)]
            record = next(r for r in client.list_feedback(model) if r.feedback_id == feedback_id)
            if step.deletes:
                client.delete(model, [feedback_id])
            elif record.kind != "retraction" and record.state != "deleted":
                entries.append(client.retract(model, feedback_id, wait=True).feedback_id)


@FEW
@given(before=STEPS, after=STEPS)
def test_what_serves_equals_a_fresh_build_from_the_rows_that_are_listed(
    restartable: Restartable, before: list[Say | Undo], after: list[Say | Undo]
) -> None:
    model, entries = restartable.new_model(), []
    take(restartable.client, model, before, entries)
    restartable.stop()
    restartable.start()
    take(restartable.client, model, after, entries)
    client = restartable.client
    wait_for(client, model, caught_up)
    lane = fresh_lane(restartable.home, client, model, TRUST)
    assert client.get_model(model).labels == lane.head.labels
    if lane.effective:
        assert client.get_model(model).temperature == pytest.approx(lane.head.temperature, rel=1e-6)
        assert logit_error(client, model, lane.head, ASKED) < 2e-6
    else:
        with pytest.raises(InvalidRequest):
            client.predict(model, ASKED[0])


class Learning:
    """The real log, reader, vectors, encoder and loop; this plays the server, which says yes."""

    def __init__(self, home: Path, digest: str, encode: tuple[int, Encode]) -> None:
        self._state = messages.ModelState("m", digest, 1, 0, None, 0, 0, None)
        self._encode = encode
        self._home = home
        self.log = FeedbackLog(home / "feedback.sqlite")
        self._reader = FeedbackReader(home / "feedback.sqlite")
        self._vectors = VectorStore(home / "adapt.sqlite")
        self.start()

    def start(self) -> None:
        """A new adapt process: all that it keeps between two lives is on disk."""
        self._said: list[messages.Revision] = []
        self.loop = AdaptLoop(
            self._reader,
            self._vectors,
            make_encode=lambda _digest: self._encode,
            load_head=partial(load_head, self._home),
            send=self._hear,
            guard_items=2,
            trust=TRUST,
        )
        self.loop.hear(messages.Models((self._state,)))
        self.work()

    def _hear(self, message: messages.Message) -> None:
        if not isinstance(message, messages.Deleted):  # which another thread says, at any time
            assert isinstance(message, messages.Revision)
            self._said.append(message)

    def work(self) -> None:
        self.loop.hear(messages.Wake(self.log.last_position("m")))
        while self.loop.busy:
            self.loop.step()
            for offer in self._said:
                verdict = messages.Verdict("m", offer.revision, "accepted", "serves")
                self.loop.hear(verdict)
            self._said.clear()

    def take(self, step: Say | Undo, number: int) -> None:
        """Writes the step to the log; the loop sees it with the next `work`."""
        records = self.log.list("m", 0, 1_000)
        if isinstance(step, Say):
            self._submit(number, Kind.AUDIT, step)
        elif records:
            record = records[step.which % len(records)]
            if step.deletes:
                self.log.delete("m", Selector([record.feedback_id]), "ada").result()
            elif record.kind is not Kind.RETRACTION and record.state is not State.DELETED:
                self._submit(number, Kind.RETRACTION, None, record.feedback_id)

    def _submit(self, number: int, kind: Kind, say: Say | None, retracts: str = "") -> None:
        new = NewFeedback("m", str(number), "", "", kind, retracts=retracts)
        if say is not None:
            new = NewFeedback(
                "m", str(number), TEXTS[say.text], say.label, kind, say.submitter, say.weight
            )
        self.log.submit([new]).result()

    def fresh(self) -> Lane:
        """Built at once from the rows that the log shows as active."""
        hidden, _ = self._encode
        active = [
            r
            for r in self.log.list("m", 0, 1_000)
            if r.state is State.ACTIVE and r.kind is not Kind.RETRACTION
        ]
        vectors = self._vectors.load("m", self._state.encoder_digest, [r.position for r in active])
        lane = Lane(hidden, trust=TRUST)
        lane.rebuild(
            Row(r.position, text_hash(r.text), r.label, r.submitter, r.weight, vectors[r.position])
            for r in reversed(active)
        )
        return lane

    def close(self) -> None:
        self._vectors.close()
        self._reader.close()
        self.log.close()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[int, Encode]]:
    """Digest, vector length and function of the real MiniLM, which encodes each text once."""
    source, home = default_source(), tmp_path_factory.mktemp("encoder")
    assert source is not None
    digest = import_encoder(source, home)
    hidden, encode = make_encode(home, digest)
    known = dict(zip(TEXTS, encode(TEXTS), strict=True))
    return digest, (hidden, lambda texts: np.stack([known[text] for text in texts]))


@settings(FEW, max_examples=25)
@example([(Say(0, "price", "ada", 1.0), "w"), (Undo(0, False), "."), (Undo(0, True), ".")])
@given(st.lists(st.tuples(st.one_of(SAY, SAY, SAY, UNDO), st.sampled_from("...wr")), max_size=40))
def test_the_loop_equals_a_fresh_build_within_1e_9(
    tmp_path_factory: pytest.TempPathFactory,
    encoder: tuple[str, tuple[int, Encode]],
    steps: list[tuple[Say | Undo, str]],
) -> None:
    """Steps pile up ("."), are learned together ("w"), or meet a restart ("r")."""
    learning = Learning(tmp_path_factory.mktemp("loop"), *encoder)
    for number, (step, then) in enumerate(steps):
        learning.take(step, number)
        if then == "w":
            learning.work()
        elif then == "r":
            learning.start()
    learning.work()
    same(learning.loop.lane("m"), learning.fresh())
    learning.close()


def same(lane: Lane, fresh: Lane) -> None:
    """Equal within 1e-9 relative, order of labels and temperature included."""
    assert lane.effective == fresh.effective
    got, expected = lane.solution, fresh.solution
    assert lane.head.temperature == pytest.approx(fresh.head.temperature, rel=1e-9)
    if got is None or expected is None:
        assert got is expected
        return
    assert got.labels == expected.labels
    for name in ("weight", "bias"):
        one, two = getattr(got, name), getattr(expected, name)
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-9 * max(np.abs(two).max(), 1))
