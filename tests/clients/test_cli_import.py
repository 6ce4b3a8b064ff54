"""Importing files of labels: columns, keys that make repetition harmless, and bad rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from clients.commands import MODEL, Honed, Outcome
from clients.scripted import ScriptedServer, status
from honed_proto.v1 import feedback_pb2

Import: TypeAlias = Callable[..., Outcome]


class Recorder:
    """Acknowledges each label, a key seen before as already recorded, and refuses "bad" ones."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, request: feedback_pb2.SubmitRequest) -> feedback_pb2.SubmitResponse:
        response = feedback_pb2.SubmitResponse()
        for item in request.items:
            if item.label == "bad":
                response.results.add(error=status("INVALID_ARGUMENT", "bad label", "BAD_LABEL"))
            else:
                known = item.idempotency_key in self._seen
                response.results.add(ack=feedback_pb2.FeedbackAck(already_recorded=known))
            self._seen.add(item.idempotency_key)
        return response


@pytest.fixture
def load(server: ScriptedServer, honed: Honed, tmp_path: Path) -> Import:
    server.on("Models.Get", MODEL)
    server.on("Feedback.Submit", Recorder())

    def run(name: str, content: str | bytes, *options: str, group: str = "feedback") -> Outcome:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return honed(group, "import", "support", path, *options)

    return run


def _items(server: ScriptedServer) -> list[feedback_pb2.FeedbackItem]:
    return [item for request in server.requests("Feedback.Submit") for item in request.items]


def test_a_label_of_a_jsonl_row_may_be_shared(server: ScriptedServer, load: Import) -> None:
    rows = [
        {"text": "hi", "label": {"greet": 0.75, "leave": 0.25}},
        {"text": "hi", "label": {"greet": "most"}},
        {"text": "hi", "label": {}},
        {"text": "hi", "label": {"greet": True}},
    ]
    done = load("labels.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    (item,) = _items(server)
    assert item.label == ""
    assert [(one.label, one.share) for one in item.shares] == [("greet", 0.75), ("leave", 0.25)]
    assert done.code == 1
    assert done.err.count("label must be a string, or an object like") == 3


def test_an_anchor_has_one_label(server: ScriptedServer, load: Import) -> None:
    done = load("anchor.jsonl", '{"text": "hi", "label": {"a": 0.5, "b": 0.5}}\n', group="anchor")
    assert done.code != 0
    assert "line 1: an anchor set takes one label for a text" in done.err
    assert not server.requests("Feedback.ImportAnchor")


def test_every_column_of_a_csv_arrives(server: ScriptedServer, load: Import) -> None:
    header = "text,label,id,submitter,time,weight,kind\n"
    rows = '"hi, you",greet,k1,ann,2026-05-04T12:00:00,2.5,correction\nbye,leave,,,1777896000,,\n'
    done = load("labels.csv", "\ufeff" + header + rows)
    assert done.code == 0, done.err
    first, second = _items(server)
    assert (first.text, first.label, first.idempotency_key) == ("hi, you", "greet", "k1")
    assert (first.submitter, first.weight) == ("ann", 2.5)
    assert first.kind == feedback_pb2.FEEDBACK_KIND_CORRECTION
    assert (second.kind, second.weight) == (feedback_pb2.FEEDBACK_KIND_AUDIT, 1)
    assert first.event_time == second.event_time


def test_jsonl_takes_numbers_for_numbers(server: ScriptedServer, load: Import) -> None:
    row = {"text": "hi", "label": "greet", "id": 7, "weight": 0.5, "time": 1777896000, "kind": None}
    assert load("labels.jsonl", f"{json.dumps(row)}\n\n").code == 0
    (item,) = _items(server)
    assert (item.idempotency_key, item.weight, item.event_time.seconds) == ("7", 0.5, 1777896000)


def test_importing_again_changes_nothing(server: ScriptedServer, load: Import) -> None:
    content = "text,label\nhi,greet\nbye,leave\n"
    first = load("labels.csv", content, "--json").json
    again = load("labels.csv", content, "--json").json
    assert (first["rows"], first["recorded"], first["already_recorded"]) == (2, 2, 0)
    assert (again["rows"], again["recorded"], again["already_recorded"]) == (2, 0, 2)
    assert first["errors_file"] is None
    assert len({item.idempotency_key for item in _items(server)}) == 2


def test_rows_go_in_batches_of_256(server: ScriptedServer, load: Import) -> None:
    rows = "".join(f"text {number},a\n" for number in range(600))
    assert "600 recorded" in load("labels.csv", f"text,label\n{rows}").out
    assert [len(each.items) for each in server.requests("Feedback.Submit")] == [256, 256, 88]


def test_bad_rows_are_named_and_written_down_and_the_others_are_recorded(
    server: ScriptedServer, load: Import, tmp_path: Path
) -> None:
    rows = 'one,a,1\n"two\nlines",a,heavy\nthree,bad,1\nfour,a\nfive,a,1\n'
    done = load("labels.csv", f"text,label,weight\n{rows}")
    assert done.code == 1
    assert "2 recorded, 0 already recorded, 3 refused" in done.out
    first, second, third = done.err.splitlines()
    assert first.startswith("labels.csv, line 4: weight: ")
    assert second == "labels.csv, line 5: bad label (BAD_LABEL)"
    assert third.startswith("labels.csv, line 6: the row has not 3 cells")
    assert [item.text for item in _items(server)] == ["one", "three", "five"]
    errors = _errors(tmp_path / "labels.csv.errors.jsonl")
    assert [(error["line"], error["reason"]) for error in errors] == [
        (4, "INVALID_IMPORT"),
        (5, "BAD_LABEL"),
        (6, "INVALID_IMPORT"),
    ]
    assert errors[0]["row"] == {"text": "two\nlines", "label": "a", "weight": "heavy"}


def test_refused_rows_go_to_the_file_that_was_named_and_drop_what_was_there(
    load: Import, tmp_path: Path
) -> None:
    errors = tmp_path / "refused.jsonl"
    content = "text,label\n" + "one,bad\n" * 20
    done = load("labels.csv", content, "--errors", str(errors))
    assert len(_errors(errors)) == 20
    assert len(done.err.splitlines()) == 6  # five rows, and where the others are
    assert str(errors) in done.err
    load("labels.csv", "text,label\none,a\n", "--errors", str(errors))
    assert not errors.exists()
    done = load("labels.csv", content, "--errors", str(tmp_path / "no-such-folder" / "file"))
    assert done.code == 2
    assert "give --errors FILE" in done.err


def _errors(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"text": 5, "label": "a"}',
        '{"text": "a", "label": "b", "lable": "c"}',
        '{"text": "a", "label": "b", "kind": "guess"}',
        '{"text": "a", "label": "b", "time": "yesterday"}',
        '{"text": "a", "label": "b", "time": 1e300}',
        '{"text": "\\ud800", "label": "b"}',
    ],
)
def test_a_bad_line_of_jsonl_is_one_line_of_complaint(load: Import, line: str) -> None:
    done = load("labels.jsonl", f"{line}\n")
    assert (done.code, "1 refused" in done.out) == (1, True)
    (complaint,) = done.err.splitlines()
    assert complaint.startswith("labels.jsonl, line 1: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "text,label\nhi,greet\n"),
        ("labels.csv", "text,category\nhi,greet\n"),
        ("labels.csv", "text,label,colour\nhi,greet,red\n"),
        ("labels.csv", ""),
        ("labels.csv", b"text,label\n\xff\xfe,greet\n"),
        ("labels.csv", 'text,label\n"hi,greet\n'),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_whole(
    server: ScriptedServer, load: Import, name: str, content: str | bytes
) -> None:
    done = load(name, content)
    assert (done.code, done.out) == (2, "")
    (complaint,) = done.err.splitlines()
    assert name in complaint
    assert not server.received


def test_anchors_are_imported_in_calls_of_1000(server: ScriptedServer, load: Import) -> None:
    def add(request: feedback_pb2.ImportAnchorRequest) -> feedback_pb2.ImportAnchorResponse:
        number = len(request.examples)
        return feedback_pb2.ImportAnchorResponse(imported=number, total=1200)

    server.on("Feedback.ImportAnchor", add)
    rows = "".join(f"text {number},a\n" for number in range(1200))
    done = load("anchors.csv", f"text,label\n{rows}", "--replace", "--json", group="anchor")
    assert done.json == {"imported": 1200, "total": 1200, "unknown_labels": []}
    requests = server.requests("Feedback.ImportAnchor")
    assert [(len(each.examples), each.replace) for each in requests] == [(1000, True), (200, False)]


def test_a_bad_anchor_stops_the_import_before_it_begins(
    server: ScriptedServer, load: Import
) -> None:
    done = load("anchors.jsonl", '{"text": "a", "label": "b"}\n{\n', group="anchor")
    assert done.code == 2
    assert done.err.startswith("honed: anchors.jsonl, line 2: ")
    assert not server.received
