"""A full disk refuses what must be durable, and nothing else; it works again when there is room."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from journeys import caught_up, files_holding, metric, teach, wait_for
from swap_oracle import make_encoder

from harness import RunningServer, ServerProcess
from honed import Client, FeedbackAck, FeedbackItem, HonedError
from small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.timeout(120)

MODEL = "m"
PAGE = 4096
STEPS = [*range(12), *range(12, 120, 6)]  # pages of room
LABELS = [("swap", "no"), ("word", "yes")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    make_encoder(folder / "elsewhere", folder, 0)
    return folder / "encoder-0"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "24m") as disk:
        yield disk


@contextmanager
def serving(disk: SmallDisk, encoder: Path) -> Iterator[tuple[RunningServer, Client]]:
    """A server on the small disk that writes a version after every revision."""
    home = disk.folder / "h"
    server = RunningServer(home, example=False, encoder=encoder, checkpoint_revisions=1)
    with closing(server), server.client() as client:
        if not client.list_models():
            client.create_model(MODEL)
            teach(client, MODEL, LABELS)
        yield server, client


def refused(call: Callable[[], object]) -> bool:
    """Whether the disk was too full for a call; any other error is a failure."""
    try:
        call()
    except HonedError as error:
        if error.reason != "DISK_FULL":
            raise
        refusal = error
    else:
        return False
    assert (refusal.status, refusal.retry_after_s) == ("RESOURCE_EXHAUSTED", 5.0)
    assert "no restart is needed" in refusal.message
    return True


class Labels:
    """Submits labels under the keys "0", "1", ...; remembers those that were acknowledged."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged: list[str] = []
        self._keys = count()

    def submit(self, size: int = 10) -> None:
        key = str(next(self._keys))
        text = f"word {key} " + "x" * size
        item = FeedbackItem(text=text, label="yes", idempotency_key=key)
        (ack,) = self.client.submit_many(MODEL, [item])
        assert isinstance(ack, FeedbackAck)
        self.acknowledged.append(key)

    def until_full(self) -> None:
        while not refused(lambda: self.submit(4_000)):
            assert len(self.acknowledged) < 2_000, "the disk never became full"


def recorded(client: Client) -> list[str]:
    """Keys in the log, but for those of the first two labels."""
    keys = [record.idempotency_key for record in client.list_feedback(MODEL, page_size=1000)]
    return keys[len(LABELS) :]


def test_labels_are_refused_until_there_is_room_and_none_is_lost(disk, encoder):
    with serving(disk, encoder) as (_, client):
        labels = Labels(client)
        labels.submit()
        disk.fill()
        labels.until_full()
        assert client.predict(MODEL, "word").label == "yes"
        assert recorded(client) == labels.acknowledged
        disk.free()
        for _ in range(20):
            labels.submit()
        assert client.submit(model=MODEL, text="new", label="new", wait=True).served
        assert "new" in client.get_model(MODEL).labels
    with serving(disk, encoder) as (_, client):
        assert recorded(client)[:-1] == labels.acknowledged
        wait_for(client, MODEL, caught_up)
        assert client.predict(MODEL, "word").label == "yes"


def test_answers_go_on_when_they_can_no_longer_be_logged(disk, encoder):
    with serving(disk, encoder) as (server, client):
        disk.fill()
        texts = (f"word {n} " + "x" * 4_000 for n in count())
        while not metric(server.server.http_port, "honed_prediction_log_dropped"):
            answer = client.predict(MODEL, next(texts))
            assert answer.label
        disk.free()
        # The answer was not logged on disk; in memory it is known all the same.
        by_id = FeedbackItem(prediction_id=answer.prediction_id, label="no")
        (ack,) = client.submit_many(MODEL, [by_id], wait=True)
        assert ack.served
        assert client.predict(MODEL, next(texts)).label


@contextmanager
def process(disk: SmallDisk, encoder: Path) -> Iterator[tuple[ServerProcess, Client]]:
    """The same as a process; ended by force if the test did not end it."""
    process = ServerProcess(disk.folder / "h", "--no-example", "--encoder", str(encoder))
    try:
        with process.client() as client:
            yield process, client
    finally:
        if process.process.returncode is None:
            process.kill()


def test_kill_9_on_a_full_disk_loses_nothing_acknowledged(disk, encoder):
    with process(disk, encoder) as (_, client):
        client.create_model(MODEL)
        teach(client, MODEL, LABELS)
        labels = Labels(client)
        labels.submit()
        disk.fill(leave=40 * PAGE)
        labels.until_full()
    disk.free()
    with process(disk, encoder) as (server, client):
        assert recorded(client) == labels.acknowledged
        wait_for(client, MODEL, caught_up)
        disk.fill()
        assert client.predict(MODEL, "word").label == "yes"
        assert server.stop() == 0  # also when no version can be written any more


def test_nothing_that_is_decided_or_learned_on_a_full_disk_takes_a_model_down(disk, encoder):
    """Page by page more room: each call works or says DISK_FULL, and the old version serves."""
    with serving(disk, encoder) as (server, client):
        labels, names, outcomes = Labels(client), [], set()
        for pages in STEPS:
            disk.fill(leave=pages * PAGE)
            name = f"new-{pages}"
            calls = {
                "submit": labels.submit,
                "promote": lambda: client.promote(MODEL, 0),
                "create": lambda name=name: client.create_model(name) and names.append(name),
                "anchor": lambda pages=pages: client.import_anchor(MODEL, [(f"{pages}", "yes")]),
                "pause": lambda: client.pause(MODEL),
                "resume": lambda: client.resume(MODEL),
            }
            for what, call in calls.items():
                outcomes.add((what, refused(call)))
                assert client.predict(MODEL, "word").label == "yes"
        assert {what for what, full in outcomes if full} >= {"submit", "create"}
        assert {what for what, full in outcomes if not full} == set(calls)
        assert metric(server.server.http_port, "honed_adapt_restarts_total") == 0
        disk.free()
        client.resume(MODEL)
        assert client.submit(model=MODEL, text="swap word", label="no", wait=True).served
        assert recorded(client)[:-1] == labels.acknowledged
    with serving(disk, encoder) as (_, client):
        assert {model.name for model in client.list_models()} == {MODEL, *names}
        assert recorded(client)[:-1] == labels.acknowledged
        for pages in STEPS:
            if f"new-{pages}" not in names:
                client.create_model(f"new-{pages}")  # what was refused half-way is no obstacle


def test_a_deletion_on_a_full_disk_is_finished_by_repeating_it(disk, encoder):
    with serving(disk, encoder) as (_, client):
        secrets = {}
        for pages in range(12):
            text = f"word secret-{pages}-secret"
            answer = client.predict(MODEL, text)
            secrets[text] = client.submit(answer, label="yes", wait=True).feedback_id
        for pages, feedback_id in enumerate(secrets.values()):
            disk.fill(leave=pages * PAGE)
            refused(lambda feedback_id=feedback_id: client.delete(MODEL, [feedback_id]))
            assert client.predict(MODEL, "word").label == "yes"
        disk.free()
        client.delete(MODEL, secrets.values())
        for text in secrets:
            assert files_holding(disk.folder, text) == []


def test_a_server_that_finds_no_room_says_so_or_serves(disk, encoder):
    with serving(disk, encoder):
        pass
    disk.fill()
    command = [sys.executable, "-m", "honed_server.main", "--home", str(disk.folder / "h")]
    run = subprocess.run(
        [*command, "--encoder", str(encoder), "--port", "0", "--http-port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "no room on the disk" in run.stderr.splitlines()[-1]
    disk.free()
    with serving(disk, encoder) as (_, client):
        assert client.predict(MODEL, "word").label == "yes"
