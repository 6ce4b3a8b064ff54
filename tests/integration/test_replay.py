"""Old answers recomputed: whatever happened since, the same label and probability come out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import apsw
import pytest
from google.rpc import error_details_pb2, status_pb2
from journeys import caught_up, decisions, examples, taught, teach, wait_for
from refusals import Expected, Wire, raised

from harness import RunningServer, running
from honed import Client, FeedbackItem, HonedError, Prediction
from honed_proto.v1 import inference_pb2 as pb

TEXTS = [text for text, _ in examples(slice(6, 7))]
BASE, ANCHORS = examples(slice(2)), examples(slice(4, 6))
SLANDER = [
    FeedbackItem(text=f"{text}, please", label="refund", submitter="vandal")
    for text, label in ANCHORS
    if label != "refund"
]


@dataclass
class Door:
    """The server as a caller that asks for old answers sees it."""

    client: Client
    wire: Wire

    def replay(self, prediction_id: str, **fields) -> pb.ReplayResponse:
        request = pb.ReplayRequest(prediction_id=prediction_id, **fields)
        answer = self.wire.call("/honed.v1.Inference/Replay", request.SerializeToString())
        return pb.ReplayResponse.FromString(answer)

    def assert_same(self, old: Prediction, **fields) -> pb.ReplayResponse:
        now = self.replay(old.prediction_id, **fields)
        assert now.matches, (old.version, old.revision, now.difference)
        assert (now.model, now.version, now.revision) == (old.model, old.version, old.revision)
        assert (now.label, now.scores[0].label) == (old.label, old.label)
        assert now.probability == pytest.approx(old.probability, abs=1e-7)
        assert now.difference == pytest.approx(
            abs(now.scores[0].probability - now.probability), abs=1e-7
        )
        assert now.difference <= 1e-4
        assert now.time.seconds > 0
        return now

    def refusal(self, old: Prediction, **fields) -> HonedError:
        return raised(lambda: self.replay(old.prediction_id, **fields))


@contextmanager
def opened(server: RunningServer, model: str = "m") -> Iterator[Door]:
    with server.client() as client:
        wire = Wire(server.target, model)
        try:
            yield Door(client, wire)
        finally:
            wire.close()


@pytest.fixture
def door(server: RunningServer) -> Iterator[Door]:
    with opened(server) as door:
        yield door


def error_info(error: HonedError) -> error_details_pb2.ErrorInfo:
    trailers = dict(error.__cause__.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


class Diary:
    """Answers given on the way, each to the same texts, none of them like those before."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.days: list[list[Prediction]] = []

    def write(self, client: Client, *, changed: bool = True) -> None:
        day = client.predict_many(self.model, TEXTS)
        if changed and self.days:
            before = [one.probability for one in self.days[-1]]
            moved = [abs(one.probability - p) for one, p in zip(day, before, strict=True)]
            assert max(moved) > 1e-3, "a test that replays another day's answer must fail"
        self.days.append(day)

    def read(self, door: Door) -> list[pb.ReplayResponse]:
        """One answer of each day, recomputed."""
        return [door.assert_same(day[n % len(TEXTS)]) for n, day in enumerate(self.days)]


def test_every_old_answer_is_recomputed(tmp_path):
    home, diary = tmp_path / "h", Diary("m")
    with running(home, example=False) as server, opened(server) as door:
        client = door.client
        live_through_labels(client, diary)
        live_through_decisions(client, diary)
        now = diary.read(door)
        assert {one.text for one in now} <= set(TEXTS)
        # Some were answered by a version's own head, some by what was learned after it.
        assert {one.labels_learned > 0 for one in now} == {True, False}
    with running(home, example=False) as server, opened(server) as door:
        wait_for(door.client, "m", lambda one: one.adapt_state == "running" and caught_up(one))
        diary.write(door.client, changed=False)
        teach(door.client, "m", examples(slice(5, 6)))
        diary.write(door.client)
    for left in (home / "adapt").glob("adapt.sqlite*"):
        left.unlink()  # what it knows can be computed again
    with running(home, example=False, adapt=False) as server, opened(server) as door:
        diary.write(door.client, changed=False)
        diary.read(door)
    assert len({(day[0].version, day[0].revision) for day in diary.days}) >= 12


def live_through_labels(client: Client, diary: Diary) -> None:
    """Labels, other labels for the same text, a withdrawn one, and ones in quarantine."""
    taught(client, "m", BASE)
    diary.write(client)
    (first, *_) = teach(client, "m", examples(slice(2, 3)), submitter="ada")
    diary.write(client)
    teach(client, "m", [(text, "refund") for text, _ in BASE[:2]])
    diary.write(client)
    retraction = client.retract("m", first.feedback_id, wait=True, timeout_s=30)
    diary.write(client)
    client.delete("m", [retraction.feedback_id])  # then the label counts again
    diary.write(client)
    client.import_anchor("m", ANCHORS)
    client.submit_many("m", SLANDER, wait=True, timeout_s=30)
    assert decisions(client, "m", "quarantine")
    diary.write(client)


def live_through_decisions(client: Client, diary: Diary) -> None:
    """A pause, a deletion in it, versions, a rollback, and labels left out since."""
    client.pause("m")
    (late,) = client.submit_many("m", [FeedbackItem(text="while it slept", label="track")])
    diary.write(client, changed=False)
    client.delete("m", [late.feedback_id])
    diary.write(client, changed=False)
    client.resume("m")
    teach(client, "m", examples(slice(3, 4)))
    diary.write(client)
    promoted = client.promote("m")
    diary.write(client, changed=False)
    teach(client, "m", [(text, "price") for text in TEXTS[:6]], submitter="vandal")
    diary.write(client)
    client.promote("m")
    client.rollback("m", promoted.version)
    diary.write(client)
    client.resume("m", exclude_submitter="vandal")
    teach(client, "m", [("it is lost", "lost")])
    diary.write(client)
    # The version that learned from the vandal, and then the lane that does not.
    client.rollback("m", promoted.version + 1)
    diary.write(client)
    client.resume("m")
    teach(client, "m", [("it is lost too", "lost")])
    diary.write(client)


def test_answers_of_an_own_model_are_recomputed(door, name, fine_tuned):
    client = door.client
    client.import_model(name, fine_tuned)
    own = client.predict(name, TEXTS[0])
    teach(client, name, BASE[:3])
    beside = client.predict(name, TEXTS[0])
    teach(client, name, BASE[3:])
    assert client.get_model(name).learned_weight > 0
    blended = client.predict(name, TEXTS[0])
    assert own.probability == beside.probability
    assert blended.label != own.label
    assert own.version == beside.version == 1
    assert door.assert_same(own).labels_learned == 0
    assert door.assert_same(beside).labels_learned == 3
    client.promote(name)
    assert door.assert_same(blended).labels_learned == len(BASE)
    assert door.assert_same(client.predict(name, TEXTS[0])).labels_learned == 0


def test_what_soft_labels_taught_is_recomputed(door, name):
    taught(door.client, name, BASE)
    shares = {"track": 0.6, "refund": 0.4}
    teach(door.client, name, [(text, shares) for text in TEXTS[1:4]])
    now = door.assert_same(door.client.predict(name, TEXTS[0]))
    assert now.labels_learned == len(BASE) + 3


def test_what_was_deleted_stops_the_answers_that_had_learned_it(door, name):
    client = door.client
    taught(client, name, BASE)
    before = client.predict(name, TEXTS[0])
    confided, other = teach(client, name, [("my secret is blue", "secret"), (TEXTS[1], "track")])
    between = client.predict(name, TEXTS[0])
    done = client.delete(name, [confided.feedback_id], requested_by="ada")
    after = client.predict(name, TEXTS[0])
    client.delete(name, [other.feedback_id], requested_by="bob")

    door.assert_same(before)
    fault = door.refusal(between)
    Expected("FAILED_PRECONDITION", "REPLAY_FORGOTTEN", None, "'ada'").check(fault)
    facts = error_info(fault).metadata
    assert (facts["feedback_id"], facts["deleted_by"]) == (confided.feedback_id, "ada")
    assert facts["deleted_position"] == str(done.position)
    assert f"position {done.position} ({facts['deleted_time']})" in fault.message
    deleted = next(r for r in client.list_feedback(name) if r.position == confided.position)
    assert abs(datetime.fromisoformat(facts["deleted_time"]) - deleted.deleted_time).seconds == 0
    assert "bob" in door.refusal(after).message


def test_a_deletion_stops_no_answer_from_before_the_label_or_after_its_retraction(door, name):
    client = door.client
    taught(client, name, BASE)
    (ack,) = teach(client, name, [(TEXTS[0], "track")])
    client.retract(name, ack.feedback_id, wait=True, timeout_s=30)
    after = client.predict(name, TEXTS[1])
    client.delete(name, [ack.feedback_id])
    assert door.assert_same(after).labels_learned == len(BASE)


def test_a_text_that_is_not_kept_must_be_sent(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False, store_texts=False) as server, opened(server) as door:
        taught(door.client, "m", BASE)
        old = door.client.predict("m", TEXTS[0])
        assert door.assert_same(old).text == TEXTS[0]  # still in memory
        says = "is not the one that prediction"
        expected = Expected("INVALID_ARGUMENT", "TEXT_MISMATCH", "text", says)
        expected.check(door.refusal(old, text="another"))
    with running(home, example=False, adapt=False) as server, opened(server) as door:
        says = "send the text along"
        expected = Expected("FAILED_PRECONDITION", "TEXT_NOT_KEPT", "text", says)
        expected.check(door.refusal(old))
        assert door.assert_same(old, text=TEXTS[0]).text == TEXTS[0]
        other = door.replay(old.prediction_id, text="the coat fell apart", top_k=3)
        assert not other.matches
        assert other.difference > 1e-3
        assert len(other.scores) == 3


def test_an_answer_that_an_earlier_honed_logged_cannot_be_compared(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, opened(server) as door:
        taught(door.client, "m", BASE)
        old = door.client.predict("m", TEXTS[0])
    with apsw.Connection(str(home / "predictions.sqlite")) as log:
        log.execute("UPDATE predictions SET probability = NULL")
    log.close()
    with running(home, example=False, adapt=False) as server, opened(server) as door:
        says = "logged by an earlier Honed"
        expected = Expected("FAILED_PRECONDITION", "PROBABILITY_NOT_KEPT", None, says)
        expected.check(door.refusal(old))


def test_what_cannot_be_replayed_is_said(door, server, name):
    client = door.client
    missing = raised(lambda: door.replay("0" * 32))
    expected = Expected("NOT_FOUND", "UNKNOWN_PREDICTION", "prediction_id", "not in the log")
    expected.check(missing)
    assert raised(lambda: door.replay("")).reason == "MISSING_FIELD"
    assert raised(lambda: door.replay("x" * 200)).reason == "BAD_IDENTIFIER"
    taught(client, name, BASE)
    wait_for(client, name, caught_up)
    old = client.predict(name, TEXTS[0])
    assert door.refusal(old, top_k=2_000_000).reason == "BAD_TOP_K"
    head = server.config.home / "models" / name / "versions" / "2" / "head.safetensors"
    head.write_bytes(b"damaged")
    assert door.refusal(old).reason == "VERSION_DAMAGED"
    client.delete_model(name)
    assert door.refusal(old).reason == "UNKNOWN_MODEL"
