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


def test_a_label_may_be_shared_among_several(server: ScriptedServer, honed: Honed) -> None:
    response = feedback_pb2.SubmitResponse(
        results=[feedback_pb2.SubmitResult(ack=feedback_pb2.FeedbackAck(feedback_id="f1"))]
    )
    server.on("Feedback.Submit", response)
    shares = ("--share", "a=b=0.75", "--share", "c=0.25")
    assert honed("feedback", "submit", "support", "--prediction-id", "p1", *shares).code == 0
    (item,) = server.requests("Feedback.Submit")[0].items
    assert (item.label, item.kind) == ("", feedback_pb2.FEEDBACK_KIND_CORRECTION)
    assert [(one.label, one.share) for one in item.shares] == [("a=b", 0.75), ("c", 0.25)]
    for wrong in (("--share", "c"), ("--share", "c=much"), (*shares, "--label", "a")):
        assert honed("feedback", "submit", "support", "--text", "hi", *wrong).code == 2
    record = feedback_pb2.FeedbackRecord(position=1, label="a", shares=item.shares)
    server.on("Feedback.List", feedback_pb2.ListFeedbackResponse(records=[record]))
    assert "a=b 0.75, c 0.25" in honed("feedback", "list", "support").out
    (listed,) = honed("feedback", "list", "support", "--json").json["records"]
    assert listed["shares"] == [{"label": "a=b", "share": 0.75}, {"label": "c", "share": 0.25}]


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


def test_feedback_is_deleted_by_submitter_and_time(server: ScriptedServer, honed: Honed) -> None:
    response = feedback_pb2.DeleteFeedbackResponse(
        position=50, served_version=4, served_revision=50, deleted=300
    )
    server.on("Feedback.Delete", response)
    limits = ("--from", "2026-01-02", "--until", "2026-01-03T12:00+01:00")
    done = honed("feedback", "delete", "support", "--submitter", "ada", *limits)
    assert (done.code, done.out.startswith("forgot 300 at position 50; version 4")) == (0, True)
    (request,) = server.requests("Feedback.Delete")
    assert (request.submitter, list(request.feedback_ids)) == ("ada", [])
    assert request.recorded_from.ToJsonString() == "2026-01-02T00:00:00Z"
    assert request.recorded_until.ToJsonString() == "2026-01-03T11:00:00Z"
    for arguments in ((), ("f1", "--submitter", "ada"), ("--from", "yesterday")):
        assert honed("feedback", "delete", "support", *arguments).code == 2


def test_deletions_are_shown_with_what_still_holds_them(
    server: ScriptedServer, honed: Honed
) -> None:
    record = feedback_pb2.DeletionRecord(
        position=50, requested_by="dpo", submitter="ada", feedback_ids=["f1", "f2"],
        served_revision=50, difference=2.5e-12,
    )  # fmt: skip
    record.time.FromJsonString("2026-01-02T00:00:00Z")
    held = record.tainted.add(version=7, in_encoder=True, active=True)
    held.retire_time.FromJsonString("2026-02-01T00:00:00Z")
    other = record.tainted.add(version=3, in_encoder=True, model="tickets")
    other.retire_time.FromJsonString("2026-02-02T00:00:00Z")
    unchecked = feedback_pb2.DeletionRecord(position=60, complete=True)
    response = feedback_pb2.ListDeletionsResponse(deletions=[record, unchecked])
    server.on("Feedback.ListDeletions", response)
    done = honed("feedback", "deletions", "support")
    assert done.code == 0
    shown = " ".join(done.out.split())
    for word in ("dpo", "ada", "2.5e-12", "7 (encoder) until 2026-02-01"):
        assert word in shown
    assert "3 of tickets (encoder) until 2026-02-02" in shown
    first, second = honed("feedback", "deletions", "support", "--json").json["deletions"]
    assert first["tainted"][0]["in_encoder"] is True
    assert [one["model"] for one in first["tainted"]] == ["", "tickets"]
    assert (first["difference"], second["difference"]) == (2.5e-12, None)
