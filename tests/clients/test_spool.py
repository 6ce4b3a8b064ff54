"""Feedback while the server is away: kept, acknowledged as such, and sent once, in order."""

import threading
from pathlib import Path

import pytest

import honed
from clients.scripted import Fault, ScriptedServer, status
from clients.spools import BAD, DOWN, FULL, accept, rejected, segments, sent, submit, until
from clients.twins import twin
from honed import AsyncClient, Client, FeedbackItem
from honed_proto.v1 import feedback_pb2 as pb


@pytest.mark.parametrize("fault", [FULL, DOWN], ids=["full", "down"])
def test_feedback_is_kept_and_sent_in_order(
    server: ScriptedServer, folder: Path, careful: Client, fault: Fault
) -> None:
    server.on("Feedback.Submit", fault)
    acks = submit(careful, "a", "b", "c")
    assert all(ack.spooled and not ack.feedback_id for ack in acks)
    assert len(segments(folder)) == 1
    first = server.requests("Feedback.Submit")[0].items[0]
    before = len(server.received)
    server.on("Feedback.Submit", accept)
    assert careful.flush_spool().rejected == 0
    assert sent(server, before)[-3:] == ["a", "b", "c"]
    assert segments(folder) == []
    again = server.requests("Feedback.Submit")[-1].items[0]
    assert again.idempotency_key == first.idempotency_key
    assert again.HasField("event_time")  # when it was labelled, not when it arrived
    (ack,) = submit(careful, "d")
    assert (ack.spooled, ack.feedback_id != "") == (False, True)


def test_nobody_has_to_ask_for_it(server: ScriptedServer, folder: Path, careful: Client) -> None:
    server.on("Feedback.Submit", FULL)
    submit(careful, "a")
    server.on("Feedback.Submit", accept)
    until(lambda: not segments(folder))
    assert sent(server)[-1] == "a"


def test_a_server_that_is_gone_is_survived(
    folder: Path, client_kind: type[Client | AsyncClient]
) -> None:
    gone = ScriptedServer()
    gone.stop()
    with twin(client_kind, gone.target, spool=folder) as client:
        assert submit(client, "a")[0].spooled
        back = ScriptedServer(int(gone.target.rpartition(":")[2]))
        back.on("Feedback.Submit", accept)
        until(lambda: not segments(folder))
        assert sent(back) == ["a"]
        back.stop()


def test_later_feedback_joins_what_waits(server: ScriptedServer, careful: Client) -> None:
    server.on("Feedback.Submit", FULL)
    submit(careful, "a")
    arrived, gate = threading.Event(), threading.Event()

    def slowly(request: pb.SubmitRequest) -> pb.SubmitResponse:
        arrived.set()
        assert gate.wait(10)
        return accept(request)

    server.on("Feedback.Submit", slowly)
    assert arrived.wait(10)  # the spool is sending it at this moment
    assert submit(careful, "b")[0].spooled
    gate.set()
    careful.flush_spool()
    assert [text for text in sent(server) if text != "a"] == ["b"]
    assert sent(server)[-1] == "b"


def test_waiting_for_it_to_serve_is_answered_at_once(
    server: ScriptedServer, careful: Client
) -> None:
    server.on("Feedback.Submit", FULL)
    ack = careful.submit(model="support", text="a", label="greet", wait=True)
    assert (ack.spooled, ack.served) == (True, False)


def test_many_labels_and_retractions_are_kept_too(server: ScriptedServer, careful: Client) -> None:
    server.on("Feedback.Submit", FULL)
    acks = careful.submit_many("support", [FeedbackItem("a", "x"), FeedbackItem("b", "y")])
    assert [isinstance(ack, honed.FeedbackAck) and ack.spooled for ack in acks] == [True, True]
    assert careful.retract("support", "f1").spooled
    server.on("Feedback.Submit", accept)
    careful.flush_spool()
    (*_, retraction) = server.requests("Feedback.Submit")[-1].items
    assert (retraction.kind, retraction.retracts) == (pb.FEEDBACK_KIND_RETRACTION, "f1")


def test_a_late_answer_is_kept_too(server: ScriptedServer, folder: Path, careful: Client) -> None:
    server.on("Feedback.Submit", server.stall)
    ack = careful.submit(model="support", text="a", label="greet", timeout_s=0.1)
    assert ack.spooled  # it may have been recorded: its key makes that harmless
    assert segments(folder)


@pytest.mark.parametrize("code", ["NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS", "INTERNAL"])
def test_a_refusal_is_raised_and_not_kept(
    server: ScriptedServer, folder: Path, careful: Client, code: str
) -> None:
    server.on("Feedback.Submit", Fault(status(code, "no", "NO")))
    with pytest.raises(honed.HonedError, match="no"):
        submit(careful, "a")
    assert segments(folder) == []


def test_what_is_refused_later_is_written_down_and_blocks_nobody(
    server: ScriptedServer, folder: Path, careful: Client
) -> None:
    server.on("Feedback.Submit", FULL)
    submit(careful, "a")
    submit(careful, "b", label="bad")
    submit(careful, "c")
    server.on("Feedback.Submit", accept)
    careful.flush_spool()
    (record,) = rejected(folder)
    assert (record["model"], record["item"]["text"]) == ("support", "b")
    assert record["error"]["reason"] == "UNKNOWN_LABEL"
    assert segments(folder) == []


def test_a_label_that_spoils_a_whole_call_spoils_no_other(
    server: ScriptedServer, folder: Path, careful: Client
) -> None:
    def refuse_whole_calls(request: pb.SubmitRequest) -> pb.SubmitResponse | Fault:
        spoilt = any(item.text == "b" for item in request.items)
        return Fault(BAD) if spoilt else accept(request)

    server.on("Feedback.Submit", FULL)
    submit(careful, "a", "b", "c")
    before = len(server.received)
    server.on("Feedback.Submit", refuse_whole_calls)
    careful.flush_spool()
    assert [record["item"]["text"] for record in rejected(folder)] == ["b"]
    assert {"a", "c"} <= set(sent(server, before))


def test_flushing_says_that_the_server_is_still_away(
    server: ScriptedServer, folder: Path, careful: Client
) -> None:
    server.on("Feedback.Submit", FULL)
    submit(careful, "a")
    with pytest.raises(honed.Overloaded, match="disk is full"):
        careful.flush_spool()
    assert segments(folder)


def test_flushing_needs_a_spool(client: Client) -> None:
    with pytest.raises(ValueError, match="no spool"):
        client.flush_spool()
