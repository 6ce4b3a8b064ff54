"""Honed and its peers in turn: one server at a time, the same texts, the same closed loops."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from honed import Prediction
from honed_loadtest import processes
from honed_loadtest.bench import Bench
from honed_loadtest.errors import BenchError
from honed_loadtest.load import Job, Outcome, run_load
from honed_loadtest.peers import environments, model
from honed_loadtest.peers.catalogue import Grpc, Http, Peer
from honed_loadtest.peers.classifier import Order
from honed_loadtest.peers.entries import CHECKED_TEXTS, CONCURRENCY, HONED, Entry, Found, Visit
from honed_loadtest.peers.process import PeerProcess, free_ports
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import MODEL

Say = Callable[[str], None]


def compare(bench: Bench, peers: Sequence[Peer], scratch: Path, say: Say) -> Found:
    """Measures Honed and the peers, in every second round in reverse order.

    Args:
        bench: How much, and the servers.
        peers: Whom to measure beside Honed.
        scratch: For what is served and what peers write.
        say: Is told what goes on.
    """
    found = Found()
    ready = _environments(peers, found, say)
    say("teaching Honed Banking77")
    expected = _prepare(bench, scratch)
    arena = _Arena(bench, scratch, ready, expected)
    entries = [Entry(HONED, precision) for precision in bench.servers.precisions]
    entries += [
        Entry(peer.name, variant, peer, settings)
        for peer in peers if peer.folder in ready
        for variant, settings in peer.variants.items()
    ]  # fmt: skip
    for number in range(bench.plan.rounds):
        for entry in reversed(entries) if number % 2 else entries:
            if number == 0 or (entry.last and entry in found.visits):
                say(f"round {number + 1} of {bench.plan.rounds}: {entry.name}, {entry.variant}")
                _visit(arena, entry, found, say)
    return found


def _environments(peers: Sequence[Peer], found: Found, say: Say) -> dict[str, Path]:
    folders = {}
    for peer in peers:
        if not peer.counts:
            folders[peer.folder] = Path(sys.prefix)
            continue
        say(f"environment of {peer.name}")
        try:
            folders[peer.folder] = environments.environment(peer.folder)
        except BenchError as error:
            say(f"{peer.name}: {error}")
            found.failed[peer.name] = str(error)
            continue
        found.versions[peer.name] = environments.versions(folders[peer.folder])
    return folders


def _prepare(bench: Bench, scratch: Path) -> list[str]:
    """Makes what peers serve, and returns Honed's labels of the texts that are checked."""
    with bench.servers.learned() as server, server.client() as client:
        client.export_model(MODEL, scratch / model.CHECKPOINT)
        answers = client.predict_many(MODEL, bench.asked[:CHECKED_TEXTS])
    model.make(scratch)
    return [answer.label for answer in answers if isinstance(answer, Prediction)]


def _visit(arena: "_Arena", entry: Entry, found: Found, say: Say) -> None:
    try:
        visit = arena.visit(entry)
    except (BenchError, OSError) as error:
        say(f"{entry.name}, {entry.variant}: {error}")
        found.failed[f"{entry.name}, {entry.variant}"] = str(error)
        found.visits.pop(entry, None)
        return
    found.visits.setdefault(entry, []).append(visit)


class _Arena:
    """Where one server at a time is started, asked and stopped.

    Args:
        bench: How long to ask it what.
        scratch: Holds what is served.
        environments: Each peer's, by its folder.
        expected: Honed's labels of the texts that are checked.
    """

    def __init__(
        self, bench: Bench, scratch: Path, environments: dict[str, Path], expected: Sequence[str]
    ) -> None:
        self._bench, self._scratch = bench, scratch
        self._environments, self._expected = environments, expected
        self._numbers = count()

    def visit(self, entry: Entry) -> Visit:
        """Measures an entry once, the largest load first: the others then find it warm."""
        with self._running(entry) as server:
            wire = Grpc() if entry.peer is None else entry.peer.wire
            plan = self._bench.plan
            agreeing = sum(
                wire.label(server.target, text) == label
                for text, label in zip(self._bench.asked, self._expected, strict=False)
            )
            closed = {
                c: self._closed(wire, server.target, c, plan.seconds / (2 if c == 1 else 1))
                for c in reversed(CONCURRENCY)
            }
            pss_mb = sum(processes.memory_mb(pid)["pss_mb"] for pid in _pids(server))
            return Visit(closed, server.ready_s, round(pss_mb, 1), agreeing)

    @contextmanager
    def _running(self, entry: Entry) -> Iterator[ServerProcess | PeerProcess]:
        if entry.peer is None or entry.settings is None:
            with self._bench.servers.learned(precision=entry.variant) as server:
                yield server
            return
        peer = entry.peer
        port, spare = free_ports(2)
        order = Order(str(self._scratch), port, spare, entry.settings)
        folder = self._scratch / f"run-{next(self._numbers)}"
        folder.mkdir()
        command = peer.command(self._environments[peer.folder], order)
        question = self._bench.asked[0]

        def answers(target: str) -> str:
            return peer.wire.label(target, question)

        with PeerProcess(command, order, answers, folder, peer.variables) as running:
            yield running
        shutil.rmtree(folder, ignore_errors=True)

    def _closed(self, wire: Grpc | Http, target: str, concurrency: int, seconds: float) -> Outcome:
        job = Job(
            target=target,
            questions=[wire.question(text) for text in self._bench.asked],
            profile=ClosedLoop(concurrency, seconds),
            warm_s=self._bench.plan.warm_s,
            processes=self._bench.plan.client_processes,
            client=wire.client,
        )
        outcome = run_load(job)
        if not outcome.finished:
            raise BenchError(f"nothing was answered at concurrency {concurrency}")
        return outcome


def _pids(server: ServerProcess | PeerProcess) -> list[int]:
    if isinstance(server, PeerProcess):
        return server.pids()
    return [server.pid] + ([server.adapt_pid] if server.adapt_pid else [])
