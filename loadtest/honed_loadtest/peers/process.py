"""A peer as it runs: its processes, from the start to the first answer to the end."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from threading import Event
from time import monotonic
from types import TracebackType
from typing import Self

from honed_loadtest.errors import BenchError
from honed_loadtest.peers.classifier import VARIABLE, Order

_SOURCES = Path(__file__).parents[2]
_START_S, _STOP_S = 120.0, 20.0
_AGAIN_S = 0.05


class PeerProcess:
    """A running peer; all its processes are ended at the end of its `with` block.

    Args:
        command: What to run.
        order: What to serve. It is in the environment of all the peer's processes, which is how
            they are found: some of them leave their parents.
        answers: Asks the first question; raises OSError as long as nobody answers.
        scratch: For what it writes; the log `peer.log` among it.
        more: Further environment variables.

    Raises:
        BenchError: It did not start; the message has the last lines of its log.
    """

    def __init__(
        self,
        command: Sequence[str],
        order: Order,
        answers: Callable[[str], object],
        scratch: Path,
        more: Mapping[str, str],
    ) -> None:
        self.target = f"127.0.0.1:{order.port}"
        self._marked = f"{VARIABLE}={json.dumps(asdict(order))}"
        self._log = scratch / "peer.log"
        name, _, value = self._marked.partition("=")
        own = {
            name: value,
            "PYTHONPATH": f"{_SOURCES}:{_SOURCES.parent / 'proto'}",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        started = monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=scratch, env={**os.environ, **own, **more}
            )
        try:
            self._wait(answers, started + _START_S)
        except BaseException:
            self.stop()
            raise
        self.ready_s = monotonic() - started

    def _wait(self, answers: Callable[[str], object], until: float) -> None:
        while True:
            try:
                answers(self.target)
                return
            except OSError as error:
                if self._process.poll() is not None or monotonic() > until:
                    last = self._log.read_text(errors="replace").strip().splitlines()[-3:]
                    raise BenchError(f"it did not start ({error}): {' / '.join(last)}") from error
            Event().wait(_AGAIN_S)

    def pids(self) -> list[int]:
        """All its processes."""
        mark = self._marked.encode()
        return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _has(folder, mark)]

    def stop(self) -> None:
        """Asks it to end, and ends what has not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _has(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended, or is not ours


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
