"""The timeline of a run shows what happened to its models, its labels, and its server."""

from threading import Event

from harness import RunningServer, running
from honed_loadtest.marks import Mark, Marks, served


def test_labels_revisions_and_a_restart_are_marked(tmp_path, small_encoder):
    server = RunningServer(tmp_path / "home", example=False)
    client, port = server.client(), server.server.port
    client.create_model("m")
    with Marks(client) as marks:
        ack = client.submit(model="m", text="word", label="a", wait=True)
        marks.add("label", "m", position=ack.position)
        assert any(mark.kind == "served" for mark in marks.settled(20))
        server.close()
        _await(marks, "away")
        with running(tmp_path / "home", example=False, port=port):
            _await(marks, "back")
            found = marks.found()
    assert [mark.kind for mark in found if mark.kind in ("served", "away", "back")] == [
        "served", "away", "back"
    ]  # fmt: skip
    (label,) = (mark for mark in found if mark.kind == "served")
    assert (label.model, label.position) == ("m", ack.position)
    assert [mark.at for mark in found] == sorted(mark.at for mark in found)


def _await(marks, kind):
    for _ in range(400):
        if any(mark.kind == kind for mark in marks.found()):
            return
        Event().wait(0.05)
    raise AssertionError(f"no {kind} in {marks.found()}")


def test_a_label_is_served_by_the_first_event_that_includes_it():
    label = Mark(1.0, "label", "m", position=7)
    events = [
        Mark(1.1, "revision", "m", 1, 6),
        Mark(1.2, "revision", "other", 1, 9),
        Mark(1.3, "revision", "m", 1, 8),
        Mark(1.4, "revision", "m", 1, 9),
    ]
    assert served([label, *events]) == [Mark(1.3, "served", "m", 1, 7)]


def test_an_event_may_come_before_the_acknowledgement():
    label, event = Mark(1.0, "label", "m", position=7), Mark(0.9, "revision", "m", 2, 7)
    assert served([label, event]) == [Mark(1.0, "served", "m", 2, 7)]


def test_a_label_that_was_not_learned_is_not_served():
    assert served([Mark(1.0, "label", "m", position=7), Mark(1.1, "revision", "m", 1, 6)]) == []
