"""A server as its users run it: a process of its own on a free port, with its own data folder."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self
from urllib.request import urlopen

from honed import Client
from honed_loadtest import processes
from honed_loadtest.errors import BenchError

_READY = re.compile(r"gRPC on (\S+?:\d+), metrics and health on (\S+?:\d+)")
_ENGINE_CPU = re.compile(r"^honed_engine_cpu_seconds (\S+)$", re.MULTILINE)
_STOP_S = 60


def _environment() -> dict[str, str]:
    # A user's Python keeps what it has compiled: without, starting takes seconds more.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "HF_HUB_OFFLINE": "1"}


class ServerProcess:
    """A running server; stopped at the end of its `with` block.

    Args:
        home: Data folder; what the server logs goes beside it.
        flags: Settings, as `honed serve` takes them.
        module: What to run in place of `honed serve`; it takes the same flags.
        python: Options of the interpreter.

    Raises:
        BenchError: It did not start; the message has the last line of its log.
    """

    def __init__(
        self,
        home: Path,
        *flags: str,
        module: str = "honed_server.main",
        python: Sequence[str] = (),
    ) -> None:
        self.home = home
        command = [sys.executable, *python, "-m", module, "--home", str(home)]
        log = home.with_suffix(".log")
        started = monotonic()
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [*command, "--port", "0", "--http-port", "0", "--log-format", "json", *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=_environment(),
            )
        assert self._process.stdout is not None, "stdout is a pipe"
        found = _READY.search(self._process.stdout.readline())
        self.ready_s = monotonic() - started
        if found is None:
            self.stop()
            last = log.read_text().rstrip().rpartition("\n")[2]
            raise BenchError(f"the server did not start: {last} ({log})")
        self.target, self._http = found[1], found[2]

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def adapt_pid(self) -> int | None:
        """Process id of its adapt process, None if it runs without."""
        return processes.child_running(self.pid, "honed_server.learning.adapt_main")

    def cpu_s(self) -> float:
        """CPU seconds of the server process so far."""
        return processes.cpu_s(self.pid)

    def engine_cpu_s(self) -> float:
        """CPU seconds that its engine's threads have taken so far, of those above."""
        with urlopen(f"{self._http}/metrics") as page:
            found = _ENGINE_CPU.search(page.read().decode())
        assert found is not None, "the server exports this metric from its start on"
        return float(found[1])

    def client(self) -> Client:
        """A client for everything but load."""
        return Client(self.target, timeout_s=60)

    def stop(self) -> None:
        """Lets it drain and save what it has learned."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_STOP_S)
        assert self._process.stdout is not None, "stdout is a pipe"
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
