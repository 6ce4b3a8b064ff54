"""What the integration tests share: texts, ways to teach a model, and ways to look at it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import ServerProcess
from honed import Client, Decision, FeedbackAck, FeedbackItem, FeedbackRecord, Model
from honed_adapt.encoders.store import default_source, import_encoder
from honed_adapt.feedback.log import text_hash
from honed_adapt.head import Head
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.process import messages, wire
from honed_adapt.storage import versions
from honed_adapt.storage.vectors import VectorStore

# Batches group texts differently each time, and float32 sums depend on the grouping.
TOLERANCE = 1e-4
_THINGS = (
    "blue jacket", "coffee machine", "running shoes", "desk lamp",
    "garden chair", "winter coat", "water bottle", "phone case",
)  # fmt: skip
_WORDS = {
    "track": (
        "where is the {} that I ordered",
        "has my {} been shipped yet",
        "when will the {} arrive at my door",
    ),
    "refund": (
        "I want my money back for the {}",
        "please refund what I paid for the {}",
        "how do I get a refund on a {}",
    ),
    "broken": (
        "the {} fell apart after one day",
        "my {} is broken and does not work",
        "there is a big crack in the {}",
    ),
    "price": (
        "how much does the {} cost",
        "is there a discount on the {} this week",
        "why is the {} so expensive",
    ),
    "stock": (
        "do you still have the {} in stock",
        "when will the {} be available again",
        "is the {} sold out everywhere",
    ),
}

Pairs = Sequence[tuple[str, str]]


def examples(things: slice = slice(None), intents: Iterable[str] = _WORDS) -> list[tuple[str, str]]:
    """Three (text, intent) pairs for each intent and thing: 15 a thing with all five intents."""
    return [
        (words.format(thing), intent)
        for thing, intent in product(_THINGS[things], intents)
        for words in _WORDS[intent]
    ]


def items(pairs: Pairs, **facts: Any) -> list[FeedbackItem]:
    """The pairs as labels to submit."""
    return [FeedbackItem(text=text, label=label, **facts) for text, label in pairs]


def teach(client: Client, model: str, pairs: Pairs, **facts: Any) -> list[FeedbackAck]:
    """Submits labels and returns when they are served; asserts that they are."""
    acks = client.submit_many(model, items(pairs, **facts), wait=True, timeout_s=30)
    assert all(isinstance(ack, FeedbackAck) and ack.served for ack in acks), acks
    return acks


def taught(client: Client, model: str, pairs: Pairs, **facts: Any) -> list[FeedbackAck]:
    """Creates a model and teaches it; returns when what it learned is version 2, and settled."""
    client.create_model(model)
    acks = teach(client, model, pairs, **facts)
    wait_for(client, model, lambda one: one.version == 2 and one.settled, timeout_s=60)
    return acks


Answers = dict[str, dict[str, float]]


def answers(client: Client, model: str, texts: Iterable[str]) -> Answers:
    """Probability by label, for each text."""
    texts = list(texts)
    predictions = client.predict_many(model, texts, top_k=1000)
    return {
        text: {score.label: score.probability for score in prediction.scores}
        for text, prediction in zip(texts, predictions, strict=True)
    }


def distance(one: Answers, other: Answers) -> float:
    """The largest difference between two probabilities; all labels must be the same."""
    assert one.keys() == other.keys()
    for text in one:
        assert one[text].keys() == other[text].keys(), text
    return max(abs(one[text][label] - other[text][label]) for text in one for label in one[text])


def wait_for(
    client: Client, model: str, reached: Callable[[Model], bool], timeout_s: float = 20
) -> Model:
    """The model as soon as `reached` holds; each event is looked at, nothing is polled."""
    with client.watch(model, timeout_s=timeout_s) as events:
        return next(event.model for event in events if reached(event.model))


def ask_until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Asks again and again, for what no event tells."""
    deadline = monotonic() + timeout_s
    while not holds():
        assert monotonic() < deadline, "it did not happen in time"


@contextmanager
def serving(home: Path, *flags: str) -> Iterator[ServerProcess]:
    """A server process without the example model; ended, if the test did not, without mercy."""
    process = ServerProcess(home, "--no-example", *flags)
    try:
        yield process
    finally:
        if process.process.returncode is None:
            process.kill()


@contextmanager
def held(pid: int) -> Iterator[None]:
    """A process that is alive and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def caught_up(model: Model) -> bool:
    """Whether all feedback is learned, and nothing larger is being made of it."""
    return model.settled and model.revision >= model.log_position


def decisions(client: Client, model: str, kind: str) -> list[tuple[Decision, dict[str, Any]]]:
    """The decisions of one kind and their numbers, oldest first."""
    found = [d for d in client.list_decisions(model) if d.kind == kind]
    return [(decision, json.loads(decision.numbers_json)) for decision in found]


def states(client: Client, model: str) -> list[str]:
    """The state of each log entry, in log order."""
    return [record.state for record in client.list_feedback(model)]


# Run beside: a process that closes a file gives up all its locks on it, and a server of this one
# would lose those of its stores (sqlite.org/howtocorrupt.html, 2.2), which ends in a bus error.
_HOLDING = """
import sys
from pathlib import Path
home, wanted = Path(sys.argv[1]), sys.stdin.buffer.read()
places = [path for path in home.iterdir() if path.name != "encoders"]
files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
assert files, f"{home} is empty"
for path in files:
    try:
        found = wanted in path.read_bytes()
    except FileNotFoundError:
        continue
    if found:
        print(path.relative_to(home))
"""


def files_holding(home: Path, wanted: str | bytes) -> list[str]:
    """Files of a data folder, its encoders left out, that hold these bytes."""
    wanted = wanted.encode() if isinstance(wanted, str) else wanted
    command = [sys.executable, "-I", "-S", "-c", _HOLDING, str(home)]
    found = subprocess.run(command, input=wanted, stdout=subprocess.PIPE, check=True)
    return found.stdout.decode().splitlines()


def _stored(home: Path, client: Client, model: str) -> list[tuple[FeedbackRecord, NDArray[Any]]]:
    """What List shows as active labels, each with the vector that the adapt process stored."""
    records = [r for r in client.list_feedback(model, page_size=1000) if r.state == "active"]
    records = [record for record in records if record.kind != "retraction"]
    digest = client.get_model(model).encoder_digest
    with VectorStore(home / "adapt" / "adapt.sqlite") as store:
        vectors = store.load(model, digest, [record.position for record in records])
    return [(record, vectors[record.position]) for record in records]


def stored_vectors(home: Path, client: Client, model: str) -> list[bytes]:
    """The bytes of the stored vectors of all active labels, in log order."""
    return [vector.tobytes() for _, vector in _stored(home, client, model)]


def fresh_lane(
    home: Path, client: Client, model: str, trust: dict[str, float] | None = None
) -> Lane:
    """A lane built anew from what List shows as active and the vectors that are stored."""
    lane = Lane(client.get_model(model).hidden_size, trust=trust)
    lane.rebuild(
        Row(
            r.position, text_hash(r.text), r.label, r.submitter, r.weight, vector,
            votes=r.kind == "audit" and not r.shares,
            shares=tuple((one.label, one.share) for one in r.shares),
        )
        for r, vector in _stored(home, client, model)
    )  # fmt: skip
    return lane


def saved_head(home: Path, model: str, version: int) -> Head:
    """The head of a version on disk."""
    return versions.load_version(home / "models", model, version)[1]


def same_head(one: Head, other: Head, relative: float = 1e-6) -> bool:
    """Whether two heads agree to the last digits of float32."""
    return (
        one.labels == other.labels
        and abs(one.temperature / other.temperature - 1) <= relative
        and all(
            np.abs(a - b).max() <= relative * np.abs(b).max()
            for a, b in ((one.weight, other.weight), (one.bias, other.bias))
        )
    )


def logit_error(client: Client, model: str, head: Head, texts: Sequence[str]) -> float:
    """Largest difference between the logits served and those of a head, as a share of the largest.

    Both start from the vectors that were served, so all that is left is float32 rounding.
    """
    found = client.predict_many(model, texts, logits=True, embedding=True)
    assert {one.logit_labels for one in found} == {head.labels}
    served = np.array([one.logits for one in found])
    vectors = np.array([one.embedding for one in found])
    difference = vectors @ head.weight.T + head.bias - served
    return float(np.abs(difference).max() / max(np.abs(served).max(), 1))


def shuffled(head: Head) -> Head:
    """The right scores under the wrong names."""
    return replace(head, labels=head.labels[1:] + head.labels[:1])


def candidate(client: Client, model: str, head: Head) -> messages.Candidate:
    """An offer of that head as a trainer would make it now."""
    now = client.get_model(model)
    return messages.Candidate(model, now.encoder_digest, now.log_position, head, seed=7)


def other_encoder(home: Path, folder: Path, tokens: int = 100) -> str:
    """An encoder that computes the same under another name: it reads fewer tokens."""
    shutil.copytree(default_source(), folder)
    settings = folder / "sentence_bert_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "max_seq_length": tokens}))
    return import_encoder(folder, home)


class Trainer:
    """The offer door: what a trainer, or a broken adapt process, may say to the server."""

    def __init__(self, home: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(home / "adapt" / "server.sock"))
        self._socket.sendall(messages.encode(messages.Hello("trainer", os.getpid())))

    def say(self, message: messages.Message) -> None:
        """Says what nothing is answered to."""
        self._socket.sendall(messages.encode(message))

    def offer(self, message: messages.Candidate | messages.Revision) -> messages.Verdict:
        """Offers a head and returns the verdict."""
        self.say(message)
        verdict = self._heard()
        assert isinstance(verdict, messages.Verdict), verdict
        return verdict

    def hangs_up_at(self, data: bytes, *, end: bool) -> bool:
        """Sends bytes, perhaps the last ones; returns whether the server ends the connection."""
        self._socket.sendall(data)
        if end:
            self._socket.shutdown(socket.SHUT_WR)
        return self._heard() is None

    def _heard(self) -> messages.Message | None:
        """What the server says next, but for reports of its load; None at the end."""
        while frame := wire.read_frame(self._socket):
            if not isinstance(message := messages.decode(frame), messages.Load):
                return message
        return None

    def close(self) -> None:
        self._socket.close()


@contextmanager
def trainer(home: Path):
    """A connection to the offer door."""
    one = Trainer(home)
    try:
        yield one
    finally:
        one.close()


def metric(http_port: int, name: str) -> float:
    """The value of a series without labels on the metrics page."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{http_port}/metrics") as page:
        found = re.search(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    assert found, name
    return float(found[1])
