"""A server as its users run it: a process of its own on a free port, with its own data folder."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from honed import Client
from honed_loadtest import processes
from honed_loadtest.errors import BenchError

_READY = re.compile(r"gRPC on (\S+?:\d+)")
_STOP_S = 60


class ServerProcess:
    """A running server; stopped at the end of its `with` block.

    Args:
        home: Data folder; what the server logs goes beside it.
        flags: Settings, as `honed serve` takes them.

    Raises:
        BenchError: It did not start; the message has the last line of its log.
    """

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        command = [sys.executable, "-m", "honed_server.main", "--home", str(home)]
        log = home.with_suffix(".log")
        started = monotonic()
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [*command, "--port", "0", "--http-port", "0", "--log-format", "json", *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
        assert self._process.stdout is not None, "stdout is a pipe"
        found = _READY.search(self._process.stdout.readline())
        self.ready_s = monotonic() - started
        if found is None:
            self.stop()
            last = log.read_text().rstrip().rpartition("\n")[2]
            raise BenchError(f"the server did not start: {last} ({log})")
        self.target = found[1]

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def adapt_pid(self) -> int | None:
        """Process id of its adapt process, None if it runs without."""
        return processes.child_running(self.pid, "honed_server.adapt_main")

    def cpu_s(self) -> float:
        """CPU seconds of the server process so far."""
        return processes.cpu_s(self.pid)

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
