"""`honed feedback`: submit, list and delete labels."""

from clients.commands import Honed
from clients.scripted import ScriptedServer, status
from honed_proto.v1 import feedback_pb2


def test_feedback_is_submitted(server: ScriptedServer, honed: Honed) -> None:
    ack = feedback_pb2.FeedbackAck(feedback_id="f1", position=41, served=True, served_version=2)
    response = feedback_pb2.SubmitResponse(results=[feedback_pb2.SubmitResult(ack=ack)])
    server.on("Feedback.Submit", response)
    done = honed("feedback", "submit", "support", "--text", "hi", "--label", "greet", "--wait")
    assert (done.code, "f1 is recorded at position 41" in done.out) == (0, True)
    about = ("--prediction-id", "p1")
    done = honed("feedback", "submit", "support", *about, "--label", "greet", "--json")
    assert (done.json["feedback_id"], done.json["position"]) == ("f1", 41)
    honed("feedback", "submit", "support", *about)
    honed("feedback", "submit", "support", *about, "--label", "x", "--kind", "audit")
    requests = server.requests("Feedback.Submit")
    assert [request.items[0].kind for request in requests] == [
        feedback_pb2.FEEDBACK_KIND_AUDIT,
        feedback_pb2.FEEDBACK_KIND_CORRECTION,
        feedback_pb2.FEEDBACK_KIND_CONFIRMATION,
        feedback_pb2.FEEDBACK_KIND_AUDIT,
    ]
    assert [request.wait_until_served for request in requests] == [True, False, False, False]


def test_a_refused_label_sets_the_exit_code(server: ScriptedServer, honed: Honed) -> None:
    refused = status("ALREADY_EXISTS", "the key has other content", "KEY_CONFLICT")
    response = feedback_pb2.SubmitResponse(results=[feedback_pb2.SubmitResult(error=refused)])
    server.on("Feedback.Submit", response)
    done = honed("feedback", "submit", "support", "--text", "a", "--label", "b", "--key", "k")
    assert (done.code, done.out) == (4, "")
    assert "KEY_CONFLICT" in done.err


def test_feedback_is_listed_up_to_a_limit(server: ScriptedServer, honed: Honed) -> None:
    records = [
        feedback_pb2.FeedbackRecord(position=number, text=f"text \x1b[31m{number}", label="a")
        for number in range(1, 4)
    ]
    page = feedback_pb2.ListFeedbackResponse(records=records, next_page_token="more")
    server.on("Feedback.List", page)
    done = honed("feedback", "list", "support", "--limit", "2", "--json")
    assert [record["position"] for record in done.json["records"]] == [1, 2]
    table = honed("feedback", "list", "support", "--limit", "2").out
    assert "\x1b" not in table
    assert r"text \x1b[31m2" in table
    assert "text \\x1b[31m3" not in table


def test_feedback_is_deleted(server: ScriptedServer, honed: Honed) -> None:
    missing = status("NOT_FOUND", "no such feedback", "FEEDBACK_NOT_FOUND")
    response = feedback_pb2.DeleteFeedbackResponse(
        results=[
            feedback_pb2.DeleteResult(tombstone=feedback_pb2.FeedbackRecord(feedback_id="f1")),
            feedback_pb2.DeleteResult(error=missing),
        ],
        position=50,
    )
    server.on("Feedback.Delete", response)
    done = honed("feedback", "delete", "support", "f1", "f9", "--requested-by", "ann", "--json")
    assert (done.code, done.json["position"]) == (3, 50)
    assert "FEEDBACK_NOT_FOUND" in done.err
    assert server.requests("Feedback.Delete")[0].requested_by == "ann"


def test_nothing_is_wrapped_or_cut_in_a_pipe(server: ScriptedServer, honed: Honed) -> None:
    text = "a long text " * 100 + "and its end"
    record = feedback_pb2.FeedbackRecord(position=1, text=text)
    server.on("Feedback.List", feedback_pb2.ListFeedbackResponse(records=[record]))
    lines = honed("feedback", "list", "support").out.splitlines()
    assert any(text in line for line in lines)
