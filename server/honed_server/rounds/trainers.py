"""The trainer processes, started by an adapt process: one for integers, one for a round.

The trial of integers waits until the adapt process has nothing else to do and no round is on. A
trainer that fails changes nothing: a trial is made again when the labels have doubled or the server
starts again; for a round the server asks again, and the next trainer goes on at its checkpoint.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from honed_adapt.encoders.precision import due
from honed_adapt.process.messages import Message, ModelState, RoundModel, Train

_Process = subprocess.Popen[bytes]


class Trainers:
    """Starts what is due, and what the server asks for.

    Args:
        flags: Passed on to each trainer.
        integers: Whether models may be answered in integers.
    """

    def __init__(self, flags: Sequence[str], *, integers: bool) -> None:
        self._flags = flags
        self._integers = integers
        self._trial: _Process | None = None
        self._round: _Process | None = None
        self._order = Train()
        self._tried: dict[tuple[str, str], int] = {}

    def hear(self, message: Message) -> None:
        """Takes in what the server says: the round to train, or that there is none."""
        if not isinstance(message, Train):
            return
        if (message.round_id, message.attempt) == (self._order.round_id, self._order.attempt):
            return
        if self._round is not None:
            self._round.kill()  # it was cancelled, or has lost the server
            self._round.wait()
            self._round = None
        self._order = message
        if message.round_id:
            self._round = self._start("--round", json.dumps(asdict(message)))

    def start_due(self, lanes: Iterable[tuple[ModelState, int]]) -> None:
        """Starts the next trial of integers, unless a trainer is at work.

        Args:
            lanes: State of each model, and how many labels are in effect.
        """
        if not self._integers or self._order.round_id or _runs(self._trial):
            return
        for state, labels in lanes:
            key = (state.name, state.encoder_digest)
            learns = state.row_limit is None
            if learns and due(labels, max(state.judged_at, self._tried.get(key, 0))):
                self._tried[key] = labels
                self._trial = self._start(
                    "--model", state.name,
                    "--encoder", state.encoder_digest,
                    "--own-head-version", str(state.own_head_version),
                )  # fmt: skip
                return

    def _start(self, *work: str) -> _Process:
        command = [sys.executable, "-m", "honed_server.rounds.trainer_main", *work, *self._flags]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def order_of(text: str) -> Train:
    """The round that a trainer's command line names, as `Trainers` put it there."""
    stored = json.loads(text)
    models = tuple(RoundModel(**model) for model in stored.pop("models"))
    return Train(**stored, models=models)


def _runs(process: _Process | None) -> bool:
    return process is not None and process.poll() is None
