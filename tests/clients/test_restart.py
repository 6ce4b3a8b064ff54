"""A real server goes away in the middle of things, and comes back."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clients.twins import twin
from harness import ServerProcess
from honed import AsyncClient, Client, Prediction, Unavailable

TEXTS = [f"where is order number {number}?" for number in range(300)]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@contextmanager
def closing_all(servers: list[ServerProcess]) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            server.stop()


def flush(client: Client) -> None:
    """Tries for some seconds: gRPC does not look every moment whether a server is back."""
    for _ in range(50):
        with suppress(Unavailable):
            client.flush_spool()
            return
        time.sleep(0.1)


def test_feedback_and_a_stream_survive_it(tmp_path: Path, port: int) -> None:
    servers: list[ServerProcess] = []

    def start() -> None:
        servers.append(ServerProcess(tmp_path / "home", "--port", str(port)))

    def texts() -> Iterator[str]:
        for number, text in enumerate(TEXTS):
            if number == 150:
                servers.pop().kill()
                acks.extend(
                    client.submit(model="support", text=name, label="names")
                    for name in ("Ann", "Bob", "Cid")
                )
                start()
            yield text

    acks = []
    target = f"127.0.0.1:{port}"
    start()
    with (
        closing_all(servers),
        Client(target, timeout_s=60, spool=tmp_path / "spool") as client,
        twin(AsyncClient, target, timeout_s=60) as streaming,
    ):
        answers = list(streaming.predict_stream("support", texts()))
        assert [each.text for each in answers if isinstance(each, Prediction)] == TEXTS
        assert all(ack.spooled for ack in acks)
        flush(client)
        client.submit(model="support", text="Dan", label="names")
        recorded = [entry.text for entry in client.list_feedback("support", label="names")]
        assert recorded == ["Ann", "Bob", "Cid", "Dan"]
