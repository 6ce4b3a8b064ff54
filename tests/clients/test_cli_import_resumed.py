"""An import that is interrupted, and goes on: after Ctrl-C, a server that was away, a new file."""

import signal
import subprocess
from functools import partial
from pathlib import Path
from time import sleep

import pytest

from clients.commands import HONED, MODEL, Honed
from clients.scripted import Fault, ScriptedServer, status
from honed_proto.v1 import feedback_pb2, models_pb2

AWAY = Fault(status("UNAVAILABLE", "the server is shutting down", "STOPPING"))


def _record(request: feedback_pb2.SubmitRequest) -> feedback_pb2.SubmitResponse:
    ack = feedback_pb2.SubmitResult(ack=feedback_pb2.FeedbackAck(position=7))
    return feedback_pb2.SubmitResponse(results=[ack] * len(request.items))


@pytest.fixture
def file(server: ScriptedServer, tmp_path: Path) -> Path:
    server.on("Models.Get", MODEL)
    path = tmp_path / "labels.csv"
    path.write_text("text,label\n" + "".join(f"text {number},a\n" for number in range(600)))
    return path


def _texts(server: ScriptedServer) -> list[str]:
    requests = server.requests("Feedback.Submit")
    return [item.text for request in requests for item in request.items]


def _stop_after_256(server: ScriptedServer, honed: Honed, file: Path) -> None:
    """An import whose second call fails for good."""
    server.on("Feedback.Submit", _record, Fault(status("INTERNAL", "a bug", "BUG")))
    done = honed("feedback", "import", "support", file)
    assert done.code == 1
    assert "stopped after row 256 (256 recorded" in done.err
    assert f"honed feedback import support {file}" in done.err
    server.on("Feedback.Submit", _record)
    server.received.clear()


def test_an_import_goes_on_where_it_stopped(
    server: ScriptedServer, honed: Honed, file: Path
) -> None:
    _stop_after_256(server, honed, file)
    done = honed("feedback", "import", "support", file, "--json")
    assert (done.code, done.json["rows"], done.json["recorded"]) == (0, 600, 600)
    assert "going on after row 256 of 600" in done.err
    assert _texts(server) == [f"text {number}" for number in range(256, 600)]
    server.received.clear()
    assert honed("feedback", "import", "support", file).code == 0
    assert len(_texts(server)) == 600  # it was complete, so this is another import


def test_an_import_begins_anew_if_told_or_if_something_is_another(
    server: ScriptedServer, honed: Honed, file: Path
) -> None:
    _stop_after_256(server, honed, file)
    honed("feedback", "import", "support", file, "--restart")
    assert len(_texts(server)) == 600
    _stop_after_256(server, honed, file)
    other = models_pb2.Model(name="support")
    other.create_time.FromSeconds(1)
    server.on("Models.Get", other)
    honed("feedback", "import", "support", file)
    assert len(_texts(server)) == 600
    server.on("Models.Get", MODEL)
    file.write_text(file.read_text() + "one more,a\n")
    server.received.clear()
    honed("feedback", "import", "support", file)
    assert len(_texts(server)) == 601


def test_a_server_that_is_away_for_a_while_is_waited_for(
    server: ScriptedServer, honed: Honed, file: Path
) -> None:
    server.on("Feedback.Submit", _record, *[AWAY] * 5, _record)
    done = honed("feedback", "import", "support", file)
    assert (done.code, "600 recorded" in done.out) == (0, True)
    (line,) = done.err.splitlines()
    assert "trying again for 60 s" in line


def test_patience_has_an_end(server: ScriptedServer, honed: Honed, file: Path) -> None:
    full = Fault(status("RESOURCE_EXHAUSTED", "the disk is full", "DISK_FULL"))
    server.on("Feedback.Submit", _record, full)
    done = honed("feedback", "import", "support", file, "--patience", "0.1")
    assert done.code == 5
    assert "stopped after row 256" in done.err
    assert "DISK_FULL" in done.err


def test_ctrl_c_is_one_line_and_the_import_goes_on_from_there(
    server: ScriptedServer, honed: Honed, file: Path
) -> None:
    server.on("Feedback.Submit", _record, server.stall)
    command = [HONED, "--target", server.target, "feedback", "import", "support", str(file)]
    # As a terminal starts it: whoever runs the tests in the background has SIGINT ignored.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heeds) as process:
        while len(server.requests("Feedback.Submit")) < 2:
            sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    (line,) = err.splitlines()
    assert line.startswith("honed: stopped after row 256 (256 recorded")
    server.received.clear()
    server.on("Feedback.Submit", _record)
    assert honed("feedback", "import", "support", file).code == 0
    assert len(_texts(server)) == 600 - 256
