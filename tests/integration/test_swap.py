"""The swap guarantee under load: one version per answer, fresh, monotone, nothing lost."""

import gc
import os
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from client_processes import asking, lines
from journeys import ask_until
from swap_client import recorded
from swap_oracle import Published, Seen, check, make_encoder, make_head, torn

from harness import RunningServer, running
from honed_adapt.process import messages, wire
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.generations import Generation

MODELS = ["alpha", "beta", "gamma"]


class Publisher:
    """Plays the adapt process and a trainer: offers oracle heads, notes when they were accepted."""

    def __init__(self, running: RunningServer) -> None:
        self._running = running
        self._client = running.client()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(running.config.home / "adapt" / "server.sock"))
        self._say(messages.Hello("adapt", os.getpid()))
        self.states: dict[str, messages.ModelState] = {}
        self.history: list[Published] = []
        self._revision = 0
        self._hear(messages.Models)

    def revise(self, model: str, version: int, encoder: int, **facts: Any) -> None:
        self._revision += 1
        head, started = make_head(self._revision), monotonic()
        learned = (model, self.states[model].epoch, self._revision, head, 1, 0, 0, 0)
        self._say(messages.Revision(*learned, **facts))
        verdict = self._hear(messages.Verdict)
        assert verdict.outcome == "accepted", verdict
        self._note(model, version, encoder, started)

    def promote(self, model: str, digest: str, encoder: int) -> int:
        """Offers a head over another encoder and promotes it by hand; returns its version."""
        self._revision += 1
        head = make_head(self._revision)
        self._say(messages.Candidate(model, digest, self._revision, head))
        verdict = self._hear(messages.Verdict)
        # The gate rightly refuses a head that drops labels; a person may overrule it.
        assert verdict.outcome == "refused", verdict
        before = [one for one in self.history if one.model == model][-1]
        started = monotonic()
        self._client.promote(model, verdict.number)
        # What served became a version first, under the next number.
        kept = replace(before, version=verdict.number + 1, started=started, accepted=monotonic())
        self.history.append(kept)
        self._note(model, verdict.number, encoder, started)
        self.hear_models()
        return verdict.number

    def hear_models(self) -> None:
        """Waits until the server has told what it will learn from."""
        self._hear(messages.Models)

    def first_version(self, model: str) -> None:
        """Offers the first revision, which the server makes version 2 by itself."""
        self.revise(model, 1, 0)
        started = monotonic()
        with self._client.watch(model) as events:
            assert any(event.model.version == 2 for event in events)
        self._note(model, 2, 0, started)

    def close(self) -> None:
        self._socket.close()
        self._client.close()

    def _note(self, model: str, version: int, encoder: int, started: float) -> None:
        swap = Published(model, version, self._revision, encoder, started, monotonic())
        self.history.append(swap)

    def _say(self, message: messages.Message) -> None:
        self._socket.sendall(messages.encode(message))

    def _hear(self, kind):
        while True:
            frame = wire.read_frame(self._socket)
            assert frame is not None, "the server closed the connection"
            message = messages.decode(frame)
            if isinstance(message, messages.Models):
                self.states = {state.name: state for state in message.models}
            if isinstance(message, kind):
                return message


@contextmanager
def oracle_server(tmp_path: Path):
    """A server whose models are oracles, each at version 2, and the publisher of their heads."""
    home, scratch = tmp_path / "h", tmp_path / "s"
    home.mkdir()
    digest = make_encoder(home, scratch, 0)
    with ExitStack() as stack:
        server = stack.enter_context(
            running(
                home,
                example=False,
                adapt=False,
                encoder=scratch / "encoder-0",
                # The publisher numbers versions itself: none may appear at a cadence.
                checkpoint_revisions=1_000_000,
            )
        )
        with server.client() as client:
            for model in MODELS:
                client.create_model(model, encoder_digest=digest)
        publisher = Publisher(server)
        stack.callback(publisher.close)
        for model in MODELS:
            publisher.first_version(model)
        yield server, publisher


def swap_under_load(tmp_path: Path, swaps: int, encoder_every: int) -> tuple[list, list]:
    with oracle_server(tmp_path) as (server, publisher):
        versions, encoders = dict.fromkeys(MODELS, 2), dict.fromkeys(MODELS, 0)
        with asking("swap_client.py", server.target, MODELS, tmp_path / "seen", 2, threads=4):
            for n in range(swaps):
                model = MODELS[n % len(MODELS)]
                if n % encoder_every == encoder_every - 1:
                    encoders[model] = 1 + n // encoder_every % 40
                    number = encoders[model]
                    scratch = tmp_path / f"s{n}"
                    digest = make_encoder(server.config.home, scratch, number)
                    versions[model] = publisher.promote(model, digest, number)
                else:
                    publisher.revise(model, versions[model], encoders[model])
    return publisher.history, [Seen.from_json(line) for line in lines(tmp_path / "seen")]


def test_swaps_under_load_keep_the_guarantee(tmp_path):
    published, seen = swap_under_load(tmp_path, swaps=300, encoder_every=14)
    # Each model begins with two, and a promotion keeps what served.
    assert len(published) == 6 + 300 + 300 // 14
    sessions = {(swap.model, swap.encoder) for swap in published if swap.encoder}
    assert len(sessions) >= 20
    assert len({(one.model, one.version, one.revision) for one in seen}) > 50
    assert check(published, seen) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_swaps_keep_the_guarantee(tmp_path):
    published, seen = swap_under_load(tmp_path, swaps=10_000, encoder_every=100)
    assert len(published) == 6 + 10_000 + 10_000 // 100
    assert check(published, seen) == []


def test_swaps_under_load_keep_at_most_two_encoders_in_memory(tmp_path):
    """The one that serves and the one being loaded; what was replaced goes with its last batch."""

    def alive() -> set[str]:
        # Not isinstance: some objects of torch warn when they are asked for their class.
        found = [each for each in gc.get_objects() if type(each) is OnnxEncoder]
        return {each.digest for each in found if each.digest in offered and id(each) not in others}

    offered: list[str] = []
    # Servers of earlier tests, of which some object lives on, served the same encoders.
    earlier = [each for each in gc.get_objects() if type(each) is OnnxEncoder]
    others = {id(each) for each in earlier}
    with oracle_server(tmp_path) as (server, publisher):
        gc.disable()  # what only the collector frees stays for too long
        try:
            with asking("swap_client.py", server.target, MODELS, tmp_path / "seen", 2, threads=4):
                for number in range(1, 7):
                    scratch = tmp_path / f"s{number}"
                    offered.append(make_encoder(server.config.home, scratch, number))
                    publisher.promote("alpha", offered[-1], number)
                    assert offered[-1] in alive()
                    # The last batch of the one before may still be on its way.
                    ask_until(lambda: len(alive()) <= 2)
        finally:
            gc.enable()


def other_labels(new: Generation, old: Generation) -> Generation:
    return replace(new, head=replace(new.head, labels=old.head.labels))


def other_temperature(new: Generation, old: Generation) -> Generation:
    return replace(new, weights=replace(new.weights, temperature=old.weights.temperature))


def other_head(new: Generation, old: Generation) -> Generation:
    return replace(new, weights=replace(new.weights, weight=old.weights.weight))


def other_encoder(new: Generation, old: Generation) -> Generation:
    return replace(new, loaded=old.loaded)


@pytest.mark.parametrize(
    ("tear", "named"),
    [
        (other_labels, "label map"),
        (other_temperature, "temperature"),
        (other_head, "head weight"),
        (other_encoder, "encoder"),
    ],
)
def test_a_torn_swap_is_caught(tmp_path, tear, named):
    """A generation assembled from two, planted in the real table, must not pass the checker."""
    with oracle_server(tmp_path) as (server, publisher), server.client() as client:
        table = server.server.catalogue.table
        old = table.current["alpha"]
        digest = make_encoder(server.config.home, tmp_path / "s7", 7)
        publisher.promote("alpha", digest, 7)
        whole = table.current["alpha"]

        async def plant():
            table.put(tear(whole, old))

        server.run(plant())
        sent = monotonic()
        (answer,) = client.predict_many("alpha", ["word"], top_k=3, logits=True, embedding=True)
        seen = recorded("c", sent, monotonic(), "alpha", answer)
    problems = check(publisher.history, [seen])
    assert problems
    assert any(named in problem for problem in problems), problems


def test_lost_stale_and_reordered_answers_are_caught():
    """The checker itself: each kind of violation in a history is reported."""
    first = Published("m", 1, 1, 0, started=0.0, accepted=1.0)
    second = Published("m", 1, 2, 0, started=2.0, accepted=3.0)
    stale = Seen("c", 4.0, 5.0, "m", 1, 1, *_oracle_answer(1))
    fresh = Seen("c", 2.5, 2.6, "m", 1, 2, *_oracle_answer(2))
    assert check([first, second], [fresh]) == []
    assert any("stale" in p for p in check([first, second], [stale]))
    assert any("went back" in p for p in check([first, second], [fresh, replace(stale, sent=2.7)]))
    assert any("failed" in p for p in check([first], [Seen("c", 0, 1, "m", failure="lost")]))
    assert any("unknown" in p for p in check([first], [replace(fresh, revision=9)]))
    assert any("future" in p for p in check([second], [replace(fresh, received=1.0)]))
    assert torn(replace(fresh, revision=1), 0)


def _oracle_answer(revision: int):
    head = make_head(revision)
    logits = head.bias.copy()
    logits[0] += head.weight[0, 0]
    scaled = logits / head.temperature
    shares = [2.718281828459045 ** float(x - scaled.max()) for x in scaled]
    total = sum(shares)
    return head.labels, tuple(s / total for s in shares), tuple(map(float, logits)), (1.0, 0.0)
