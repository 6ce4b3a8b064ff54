"""The trainer processes, started one at a time by an adapt process that has nothing else to do.

A trainer that fails changes nothing; its work is tried again when the labels have doubled, or when
the server starts again.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence

from honed_adapt.messages import ModelState
from honed_adapt.precision import due


class Trainers:
    """Starts what is due.

    Args:
        flags: Passed on to each trainer.
    """

    def __init__(self, flags: Sequence[str]) -> None:
        self._flags = flags
        self._running: subprocess.Popen[bytes] | None = None
        self._tried: dict[tuple[str, str], int] = {}

    def start_due(self, lanes: Iterable[tuple[ModelState, int]]) -> None:
        """Starts the next trainer, unless one is at work.

        Args:
            lanes: State of each model, and how many labels are in effect.
        """
        if self._running is not None and self._running.poll() is None:
            return
        for state, labels in lanes:
            key = (state.name, state.encoder_digest)
            learns = state.row_limit is None
            if learns and due(labels, max(state.judged_at, self._tried.get(key, 0))):
                self._tried[key] = labels
                self._running = self._start(state)
                return

    def _start(self, state: ModelState) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [
                sys.executable, "-m", "honed_server.trainer_main",
                "--model", state.name,
                "--encoder", state.encoder_digest,
                "--own-head-version", str(state.own_head_version),
                *self._flags,
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
