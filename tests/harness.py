"""Real servers for tests: in this process with its own event loop, or as a process of its own."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from honed import Client
from honed_server.app import Server
from honed_server.config import ServerConfig
from honed_server.encoders.devices import Device

READY = re.compile(r"gRPC on (\S+?:\d+), metrics and health on http://127.0.0.1:(\d+)")
# Of calls that name no deadline: on a busy machine even an encoder's import takes its time.
PATIENCE_S = 30.0


class RunningServer:
    """A server in a thread of this process, `on` a device that the settings cannot name."""

    def __init__(self, home: Path, on: Device | None = None, **settings: Any) -> None:
        self.config = ServerConfig(home=home, **{"port": 0, "http_port": 0, **settings})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self.server = self.run(Server.start(self.config, device=on))
        except BaseException:
            self._end_loop()
            raise

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float = 60) -> Any:
        """Runs something on the server's own event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def client(self, **options: Any) -> Client:
        return Client(self.target, **{"timeout_s": PATIENCE_S, **options})

    def close(self) -> None:
        self.run(self.server.close())
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running(home: Path, on: Device | None = None, **settings: Any) -> Iterator[RunningServer]:
    server = RunningServer(home, on, **settings)
    try:
        yield server
    finally:
        server.close()


class ServerProcess:
    """A server as a user runs it; can be killed."""

    def __init__(self, home: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "honed_server.main", "--home", str(home)]
        self._log = (home.parent / f"{home.name}.log").open("a")
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--http-port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = READY.search(line)
        if found is None:
            self.process.wait()
            raise AssertionError(f"server did not start: {line!r}, see {self._log.name}")
        self.target, self.http_port = found[1], int(found[2])

    def client(self, **options: Any) -> Client:
        return Client(self.target, **{"timeout_s": PATIENCE_S, **options})

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return code
