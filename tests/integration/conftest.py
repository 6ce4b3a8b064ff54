"""One server for all tests that need no restart; each test has a model of its own."""

import re
import zlib
from collections.abc import Iterator

import pytest

from harness import RunningServer, running
from honed import Client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server with its adapt process; submitter `expert` is trusted most."""
    home = tmp_path_factory.mktemp("shared")
    with running(home, example=False, submitter_trust={"expert": 2.0}) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name that no other test uses."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())
    return f"{words[:40]}-{zlib.crc32(request.node.nodeid.encode()):08x}"
