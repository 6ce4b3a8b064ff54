"""The line of a process that learns: what it hears, and how it waits for its budget."""

import socket
from contextlib import closing
from threading import Thread
from time import monotonic, process_time
from types import SimpleNamespace

import pytest

from honed_adapt.process import beside, messages, wire
from honed_adapt.process.beside import ServerGone, ServerLine
from honed_adapt.process.budget import FLOORS, IDLE


@pytest.fixture
def ends(tmp_path):
    """The line of a trainer and the server's end of it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with closing(ServerLine(str(tmp_path / "s"), "trainer")) as line:
            server, _ = listener.accept()
            with server:
                yield line, server


def burn(line: ServerLine) -> None:
    """A slice that costs more than is ever saved up."""
    line.pause()
    sum(range(10_000_000))


def test_it_says_who_it_is(ends):
    _, server = ends
    hello = messages.decode(wire.read_frame(server))
    assert isinstance(hello, messages.Hello)
    assert hello.role == "trainer"


def test_reports_set_the_share_and_everything_else_is_heard_in_order(ends):
    line, server = ends
    assert not line.ready()
    for message in (messages.Wake(1), messages.Load(0.0, 1.0), messages.Wake(2)):
        server.sendall(messages.encode(message))
    assert line.ready()
    line.pause()
    assert [line.hear(), line.hear()] == [messages.Wake(1), messages.Wake(2)]
    assert line.share == FLOORS["trainer"]
    assert not line.ready()


def test_a_wait_for_budget_ends_with_the_report_of_an_idle_server(ends):
    """At the floor the debt of the slice would take seconds; what is said meanwhile is kept."""
    line, server = ends
    for _ in range(8):
        server.sendall(messages.encode(messages.Load(0.0, 1.0)))
    burn(line)
    paused = Thread(target=line.pause)
    paused.start()
    server.sendall(messages.encode(messages.Wake(7)))
    server.sendall(messages.encode(messages.Load(1.0, 0.0)))
    paused.join()
    assert line.share == IDLE
    assert line.hear() == messages.Wake(7)


def test_what_work_cost_is_paid_while_nobody_asks_for_more(ends, monkeypatch):
    line, server = ends
    now, used = monotonic(), process_time()
    monkeypatch.setattr(beside, "monotonic", lambda: now)
    monkeypatch.setattr(beside, "process_time", lambda: used)
    used += 1.0  # what one label cost
    server.sendall(messages.encode(messages.Wake(1)))
    line.hear()
    now += 60.0  # until the next one comes
    waits = []
    nothing = SimpleNamespace(select=lambda *args: waits.append(args[-1]) or ([], [], []))
    monkeypatch.setattr(beside, "select", nothing)
    line.pause()
    assert waits == [0]


def test_the_end_of_the_server_ends_work_and_waiting(ends):
    line, server = ends
    for _ in range(8):
        server.sendall(messages.encode(messages.Load(0.0, 1.0)))
    burn(line)
    server.close()
    with pytest.raises(ServerGone):
        line.pause()
    with pytest.raises(ServerGone):
        line.hear()
