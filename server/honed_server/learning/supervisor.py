"""Keeps the adapt process running at low priority; its death stops learning and nothing else."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import structlog

from honed_server.config import ServerConfig
from honed_server.edge.metrics import Metrics

log = structlog.get_logger(__name__)

_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
# A process that lived this long was healthy: the next failure starts again at the first back-off.
_HEALTHY_S = 5.0
_STOP_S = 5.0


class Supervisor:
    """Starts the adapt process and starts it again when it dies.

    Args:
        config: Data folder, niceness, guard and trust, passed on.
        socket: Path of the server's socket, passed on.
        metrics: Counts restarts.
        integers: Whether models may be answered in integers.
    """

    def __init__(
        self, config: ServerConfig, socket: Path, metrics: Metrics, *, integers: bool
    ) -> None:
        self._command = [
            sys.executable, "-m", "honed_server.learning.adapt_main",
            "--home", str(config.home),
            "--socket", str(socket),
            "--nice", str(config.adapt_nice),
            "--guard-items", str(config.anchor_guard_items),
            "--trust", json.dumps(config.submitter_trust),
            "--memory-mb", str(config.adapt_memory_mb),
            "--log-format", config.log_format,
            "--integers" if integers else "--no-integers",
        ]  # fmt: skip
        self._metrics = metrics
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running adapt process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts supervising."""
        self._task = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """Stops the process: politely, then firmly."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = _FIRST_BACKOFF_S
        while True:
            started = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL
            )
            code = await self._process.wait()
            if loop.time() - started > _HEALTHY_S:
                backoff_s = _FIRST_BACKOFF_S
            log.warning("adapt process ended; learning stops until it is back",
                        exit_code=code, restart_in_s=backoff_s)  # fmt: skip
            self._metrics.adapt_restarts.inc()
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)
