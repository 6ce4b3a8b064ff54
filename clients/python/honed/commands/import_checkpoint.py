"""How far an import had come: a small file in the user's state folder, gone when it is complete."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Self

from honed.errors import HonedError
from honed.types import FeedbackAck, Model


@dataclass(slots=True)
class Tally:
    """What became of the first `rows` rows of a file.

    Attributes:
        rows: Rows that have been dealt with.
        recorded: Rows recorded now.
        already_recorded: Rows that had been recorded before.
        refused: Rows that are no labels, or that the server refused.
        position: Newest log position of a recorded row; 0 if there is none.
    """

    rows: int = 0
    recorded: int = 0
    already_recorded: int = 0
    refused: int = 0
    position: int = 0

    def sentence(self) -> str:
        """The tally for people."""
        return (
            f"{self.recorded} recorded, {self.already_recorded} already recorded, "
            f"{self.refused} refused"
        )

    def count(self, outcome: FeedbackAck | HonedError) -> None:
        """Adds what became of one row."""
        self.rows += 1
        if isinstance(outcome, HonedError):
            self.refused += 1
            return
        self.position = max(self.position, outcome.position)
        if outcome.already_recorded:
            self.already_recorded += 1
        else:
            self.recorded += 1


class Checkpoint:
    """Keeps the tally of one import between runs.

    Losing it costs time only: repeated rows carry the same idempotency keys. So a folder that
    cannot be written is no error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, target: str, model: Model, file: Path) -> Self:
        """The checkpoint for this content of `file`, on its way to this model of this server.

        A model of the same name on a server that was set up anew is another one.
        """
        with file.open("rb") as opened:
            digest = file_digest(opened, "sha256").hexdigest()
        name = sha256("\n".join((target, model.name, str(model.create_time), digest)).encode())
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return cls(Path(state) / "honed" / "imports" / f"{name.hexdigest()}.json")

    def load(self) -> Tally:
        """What an interrupted run had done, or nothing."""
        with suppress(OSError, ValueError, TypeError):
            return Tally(**json.loads(self._path.read_text()))
        return Tally()

    def save(self, tally: Tally) -> None:
        """Remembers the tally."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._path.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps(asdict(tally)))
            aside.replace(self._path)

    def clear(self) -> None:
        """Forgets it: the import is complete."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
