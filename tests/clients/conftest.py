from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from clients.commands import Honed, honed_at
from clients.scripted import ScriptedServer
from clients.twins import twin
from honed import AsyncClient, Client


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture(params=[Client, AsyncClient])
def client_kind(request: pytest.FixtureRequest) -> type[Client | AsyncClient]:
    """Each test with a client runs twice: with calls that block, and with awaited ones."""
    kind: type[Client | AsyncClient] = request.param
    return kind


@pytest.fixture
def client(server: ScriptedServer, client_kind: type[Client | AsyncClient]) -> Iterator[Client]:
    with twin(client_kind, server.target) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spool of `open_client` and `careful` is."""
    return tmp_path / "spool"


@pytest.fixture
def open_client(
    server: ScriptedServer, folder: Path, client_kind: type[Client | AsyncClient]
) -> Callable[[], AbstractContextManager[Client]]:
    """Opens a client with that spool."""
    return lambda: twin(client_kind, server.target, spool=folder)


@pytest.fixture
def careful(open_client: Callable[[], AbstractContextManager[Client]]) -> Iterator[Client]:
    with open_client() as client:
        yield client


@pytest.fixture
def honed(server: ScriptedServer) -> Honed:
    return honed_at(server.target)


@pytest.fixture(autouse=True)
def _state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what an interrupted import of a user or of another test has left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
