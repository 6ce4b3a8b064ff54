"""A full disk refuses what must be durable, and nothing else; it works again when there is room."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness import RunningServer, ServerProcess
from honed import Client, FeedbackAck, FeedbackItem, HonedError
from honed_server.home import StartError
from journeys import caught_up, files_holding, metric, teach, wait_for
from small_disk import SmallDisk, small_disk
from swap_oracle import make_encoder

pytestmark = pytest.mark.timeout(120)

MODEL = "m"
PAGE = 4096
LABELS = [("word", "yes"), ("swap", "no")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    make_encoder(folder / "elsewhere", folder, 0)
    return folder / "encoder-0"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "24m") as disk:
        yield disk


def start(disk: SmallDisk, encoder: Path, **settings) -> RunningServer:
    return RunningServer(disk.folder / "h", example=False, encoder=encoder, **settings)


@pytest.fixture
def server(disk: SmallDisk, encoder: Path) -> Iterator[RunningServer]:
    """A server on the small disk that writes a version after every revision."""
    with closing(start(disk, encoder, checkpoint_revisions=1)) as server:
        with server.client() as client:
            client.create_model(MODEL)
            teach(client, MODEL, LABELS)
        yield server


def refused(call: Callable[[], object]) -> bool:
    """Whether the disk was too full for a call; any other error is a failure."""
    try:
        call()
    except HonedError as error:
        if error.reason != "DISK_FULL":
            raise
        assert (error.status, error.retry_after_s) == ("RESOURCE_EXHAUSTED", 5.0)
        assert "no restart is needed" in error.message
        return True
    return False


def submit_until_full(client: Client, start: int) -> list[str]:
    """Submits labels until one is refused; returns the keys of those that were acknowledged."""
    keys = []
    for n in range(start, start + 1000):
        item = FeedbackItem(text=f"word {n} {'filler ' * 500}", label="yes", idempotency_key=str(n))
        if refused(lambda item=item: _acknowledged(client, item)):
            return keys
        keys.append(str(n))
    raise AssertionError("the disk never became full")


def _acknowledged(client: Client, item: FeedbackItem) -> None:
    (ack,) = client.submit_many(MODEL, [item])
    assert isinstance(ack, FeedbackAck)


def recorded(client: Client) -> list[str]:
    keys = [record.idempotency_key for record in client.list_feedback(MODEL, page_size=1000)]
    return keys[len(LABELS) :]


def test_labels_are_refused_until_there_is_room_and_none_is_lost(disk, encoder, server):
    with server.client() as client:
        disk.fill()
        acknowledged = submit_until_full(client, 0)
        assert refused(lambda: client.submit(model=MODEL, text="word " * 5_000, label="no"))
        assert client.predict(MODEL, "word").label == "yes"
        assert recorded(client) == acknowledged
        disk.free()
        acknowledged += submit_some(client, 1000)
        wait_for(client, MODEL, caught_up)
        assert client.submit(model=MODEL, text="brand new", label="new", wait=True).served
        assert "new" in client.get_model(MODEL).labels
    server.close()
    with closing(start(disk, encoder)) as again, again.client() as client:
        assert recorded(client)[: len(acknowledged)] == acknowledged
        wait_for(client, MODEL, caught_up)
        assert client.predict(MODEL, "word").label == "yes"


def submit_some(client: Client, start: int) -> list[str]:
    keys = [str(n) for n in range(start, start + 20)]
    for key in keys:
        _acknowledged(client, FeedbackItem(text=f"word {key}", label="yes", idempotency_key=key))
    return keys
