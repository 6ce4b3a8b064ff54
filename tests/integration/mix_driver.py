"""What is done to the server in the mix, each in a thread: labels, deletions, rollbacks, crashes.

Every step is noted for the oracle: what was acknowledged, what was said, and when a model may go
back.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from time import monotonic

import psutil
from journeys import examples
from mix_oracle import History, Published, Served, Window

from harness import ServerProcess
from honed import (
    Client,
    FeedbackAck,
    FeedbackItem,
    FeedbackKind,
    HonedError,
    InvalidRequest,
    Model,
    Unavailable,
)

SAID = examples(slice(0, 4))
# A channel that found nobody waits up to two seconds before it looks again.
_RECONNECT_S = 3.0
_NEW_LABELS = ("parcel_lost", "wrong_size", "gift_card")


@dataclass
class World:
    """The server under test and all that is known of it. `said` maps a key to (model, item)."""

    server: ServerProcess
    home: Path
    models: list[str]
    spool: Path
    history: History = field(default_factory=History)
    said: dict[str, tuple[str, FeedbackItem]] = field(default_factory=dict)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    tombstones: set[str] = field(default_factory=set)
    replays: list[tuple[bool, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    stop: Event = field(default_factory=Event)
    problems: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    @contextmanager
    def may_go_back(self, model: str) -> Iterator[None]:
        """Declares that the model may serve something older from now until the end of the block."""
        start = monotonic()
        try:
            yield
        finally:
            self.history.windows.append(Window(model, start, monotonic()))


def every(seconds: float, step: Callable[[World, Client, random.Random], None], world: World):
    """Runs a step again and again with a client of its own; away servers are waited for."""
    choose = random.Random(step.__name__)

    def loop() -> None:
        with Client(world.server.target, spool=world.spool) as client:
            while not world.stop.wait(seconds * choose.uniform(0.5, 1.5)):
                try:
                    step(world, client, choose)
                    world.count(step.__name__)
                except Unavailable:
                    continue
                except HonedError as error:
                    if error.reason == "DELETION_PENDING":  # told to try again, and will
                        continue
                    world.problems.append(f"{step.__name__}: {error!r}")

    thread = threading.Thread(target=loop, name=step.__name__)
    thread.start()
    return thread


def label(world: World, client: Client, choose: random.Random) -> None:
    """Says one to eight labels, right ones mostly, and sometimes waits until they are served."""
    model = choose.choice(world.models)
    items = []
    for text, intent in choose.sample(SAID, choose.choice((1, 1, 2, 8))):
        right = choose.random() < 0.9
        items.append(
            FeedbackItem(
                text,
                intent if right else choose.choice(_NEW_LABELS),
                kind=choose.choice((FeedbackKind.AUDIT, FeedbackKind.CORRECTION)),
                submitter=choose.choice(("ada", "bob")),
            )
        )
    with world.lock:
        world.said.update({item.idempotency_key: (model, item) for item in items})
    sent = monotonic()
    acks = client.submit_many(model, items, wait=choose.random() < 0.3)
    received = monotonic()
    for ack in acks:
        if not isinstance(ack, FeedbackAck):
            world.problems.append(f"label refused: {ack!r}")
        elif ack.served:
            world.history.served.append(Served(model, sent, received, ack.served_revision))
        elif ack.spooled:
            world.count("spooled")


def delete(world: World, client: Client, choose: random.Random) -> None:
    """Deletes one or two entries of a model."""
    model = choose.choice(world.models)
    entries = [one for one in client.list_feedback(model) if one.state == "active"]
    chosen = choose.sample(entries, min(len(entries), choose.choice((1, 2))))
    if chosen:
        keys, ids = {one.idempotency_key for one in chosen}, [one.feedback_id for one in chosen]
        world.deleting |= keys
        client.delete(model, ids, requested_by="mix")
        world.deleted |= keys
        world.tombstones |= set(ids)


def go_back(world: World, client: Client, choose: random.Random) -> None:
    """Rolls a model back, lets it stand a moment, and learns again, sometimes without one's say."""
    model = choose.choice(world.models)
    earlier = [
        one.version
        for one in client.list_versions(model)
        if one.state == "retired" and not one.tainted_position and one.num_labels
    ]
    # A deletion may taint the version in between.
    with suppress(InvalidRequest, Unavailable), world.may_go_back(model):
        client.rollback(model, choose.choice(earlier or [0]), requested_by="mix")
        world.count("rollbacks")
    world.stop.wait(0.5)
    with world.may_go_back(model):
        resume(client, model, exclude_submitter=choose.choice(("", "", "bob")))


def resume(client: Client, model: str, **options: str) -> None:
    """Resumes if paused, through a restart if there is one, so that no model stays paused."""
    while True:
        try:
            if client.get_model(model).adaptation_paused:
                client.resume(model, requested_by="mix", **options)
            return
        except (Unavailable, InvalidRequest):  # the server restarts, or a deletion is pending
            continue


def promote(world: World, client: Client, choose: random.Random) -> None:
    """Makes what serves a version."""
    client.promote(choose.choice(world.models), requested_by="mix")


def kill_adapt(world: World, _client: Client, _choose: random.Random) -> None:
    """Kills the adapt process as a full memory would."""
    with suppress(psutil.NoSuchProcess):  # the server itself may have been killed
        for child in psutil.Process(world.server.process.pid).children():
            if any("adapt_main" in part for part in child.cmdline()):
                child.kill()
                world.count("killed")


def replay(world: World, client: Client, choose: random.Random) -> None:
    """Recomputes an answer that was just given."""
    model = choose.choice(world.models)
    text = choose.choice(SAID)[0]
    answer = client.predict(model, text)
    world.stop.wait(choose.uniform(0, 2))
    try:
        again = client.replay(answer.prediction_id)
        world.replays.append((again.matches, f"{again}"))
    except HonedError as error:
        excused = error.reason in ("REPLAY_FORGOTTEN", "TEXT_NOT_KEPT", "UNKNOWN_PREDICTION")
        if not excused:
            raise
        world.count(error.reason)


class Watcher:
    """Notes each version and revision that the server says it serves, through restarts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped = False
        self._client = Client(world.server.target)
        self._open()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    def _open(self) -> None:
        self._events = self._client.watch()

    def _run(self) -> None:
        while not self._stopped:
            with suppress(Unavailable):
                for event in self._events:
                    self._note(event.model)
            self._open()

    def _note(self, model: Model) -> None:
        tag = (model.name, model.version, model.revision)
        told = Published(model.label_set_version, model.labels, model.temperature)
        self._world.history.published.setdefault(tag, set()).add(told)

    def close(self) -> None:
        self._stopped = True
        self._events.close()
        self._thread.join()
        self._client.close()


def restart(world: World) -> None:
    """Kills the server without warning and starts it again at the same address."""
    with world.may_go_back(""):
        start = monotonic()
        world.server.kill()
        port = world.server.target.rpartition(":")[2]
        world.server = ServerProcess(world.home, "--no-example", "--port", port)
        world.history.away.append((start, monotonic() + _RECONNECT_S))
    world.count("restarts")
