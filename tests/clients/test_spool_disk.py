"""The spool on disk: crashes, damage, sharing, order and size."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import honed
from clients.scripted import ScriptedServer
from clients.spools import FULL, accept, rejected, segments, sent, submit
from honed import Client, FeedbackItem


def test_the_next_client_takes_over(server: ScriptedServer, open_client: Any, folder: Path) -> None:
    server.on("Feedback.Submit", FULL)
    with open_client() as client:
        submit(client, "a")
    assert not [each for each in threading.enumerate() if each.name == "honed-spool"]
    server.on("Feedback.Submit", accept)
    with open_client() as client:
        client.flush_spool()
    assert sent(server)[-1] == "a"
    assert segments(folder) == []


DIES = """
import os, sys
from honed import Client
client = Client(sys.argv[1], spool=sys.argv[2])
for text in ("a", "b"):
    assert client.submit(model="support", text=text, label="greet").spooled
print("kept", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_kept_is_sent_by_another(
    server: ScriptedServer, folder: Path, open_client: Any
) -> None:
    server.on("Feedback.Submit", FULL)
    command = [sys.executable, "-c", DIES, server.target, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        with open_client() as client:  # the holder lives: nothing of it is taken
            assert client.flush_spool() == honed.SpoolFlush(recorded=0, rejected=0)
        process.send_signal(signal.SIGKILL)
    (segment,) = segments(folder)
    with segment.open("ab") as file:
        file.write(b'1234abcd {"model": "supp')  # a line that the crash has torn
    before = len(server.received)
    server.on("Feedback.Submit", accept)
    with open_client() as client:
        client.flush_spool()
    assert sent(server, before) == ["a", "b"]
    assert segments(folder) == []


def test_a_damaged_line_is_set_aside(
    server: ScriptedServer, folder: Path, open_client: Any
) -> None:
    server.on("Feedback.Submit", FULL)
    with open_client() as client:
        submit(client, "a", "zz", "c")
    (segment,) = segments(folder)
    segment.write_bytes(segment.read_bytes().replace(b"zz", b"zX"))
    before = len(server.received)
    server.on("Feedback.Submit", accept)
    with open_client() as client:
        client.flush_spool()
    assert sent(server, before) == ["a", "c"]
    (record,) = rejected(folder)
    assert "zX" in record["damaged"]


def test_much_feedback_is_sent_in_order(server: ScriptedServer, folder: Path) -> None:
    server.on("Feedback.Submit", FULL)
    texts = [f"{number} " + "x" * 2000 for number in range(1500)]
    with Client(server.target, spool=folder) as client:
        for at in range(0, len(texts), 100):
            client.submit_many("support", [FeedbackItem(t, "x") for t in texts[at : at + 100]])
        assert len(segments(folder)) > 2
    before = len(server.received)
    server.on("Feedback.Submit", accept)
    with Client(server.target, spool=folder) as client:
        client.flush_spool()
    assert sent(server, before) == texts
    assert segments(folder) == []


def test_a_full_spool_says_so(server: ScriptedServer, folder: Path, careful: Client) -> None:
    server.on("Feedback.Submit", FULL)
    submit(careful, "a")
    with (folder / "rejected.jsonl").open("wb") as file:
        os.truncate(file.fileno(), 256 * 1024 * 1024)  # takes no room on disk
    with pytest.raises(honed.Overloaded) as caught:
        submit(careful, "b")
    assert caught.value.reason == "SPOOL_FULL"


def test_a_spool_that_cannot_be_written_says_so(
    server: ScriptedServer, folder: Path, careful: Client
) -> None:
    server.on("Feedback.Submit", FULL)
    (folder / ".lock").unlink(missing_ok=True)
    folder.rmdir()
    with pytest.raises(honed.Unavailable) as caught:
        submit(careful, "a")
    assert caught.value.reason == "SPOOL_FAILED"


def test_feedback_that_a_closing_client_could_not_send_is_kept(
    server: ScriptedServer, folder: Path
) -> None:
    client = Client(server.target, spool=folder)
    client.close()
    assert submit(client, "a")[0].spooled
    server.on("Feedback.Submit", accept)
    with Client(server.target, spool=folder) as other:
        other.flush_spool()
    assert sent(server) == ["a"]
