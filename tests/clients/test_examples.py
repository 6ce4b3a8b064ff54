"""The examples in the docstrings of the SDK work as they are printed, against a first start."""

import asyncio
import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoints import save_classifier
from harness import RunningServer, running
from honed import AsyncClient, Client, FeedbackItem

DESCRIBED: dict[str, object] = {
    "Client": Client,
    "AsyncClient": AsyncClient,
    **{
        name: member
        for name, member in inspect.getmembers(Client)
        if ">>>" in (inspect.getdoc(member) or "")
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("examples") / "home", example=True) as server:
        yield server


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "checkpoint")


@pytest.mark.parametrize("name", DESCRIBED)
def test_an_example_works_as_it_is_printed(
    name: str,
    server: RunningServer,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HONED_TARGET", server.target)
    known = {
        "asyncio": asyncio,
        "Client": Client,
        "AsyncClient": AsyncClient,
        "FeedbackItem": FeedbackItem,
        "checkpoint": checkpoint,
        "folder": tmp_path / "new",
    }
    text = inspect.getdoc(DESCRIBED[name]) or ""
    with server.client() as client:
        test = doctest.DocTestParser().get_doctest(text, known | {"client": client}, name, None, 0)
        report: list[str] = []
        result = doctest.DocTestRunner().run(test, out=report.append)
    assert result.attempted
    assert not result.failed, "".join(report)
