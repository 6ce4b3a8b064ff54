"""Rows of an import that were refused: the first ones on standard error, all of them in a file."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from honed.commands.failure import described
from honed.commands.rows import Row
from honed.errors import HonedError, InvalidRequest

_SAID_ROWS = 5


class RefusedRows:
    """Writes one JSON object a refused row: line, row, reason, message.

    Args:
        path: The file, which is made with the first refused row.
        source: Name of the imported file.
        goes_on: Whether an earlier run of the same import wrote the first ones; else what is in
            the file is dropped.
        say: Prints a line.
    """

    def __init__(self, path: Path, source: str, goes_on: bool, say: Callable[[str], None]) -> None:
        self.path = path
        self._source = source
        self._say = say
        self._said = 0
        self._file: TextIO | None = None
        if not goes_on:
            with self._usable():
                path.unlink(missing_ok=True)

    def add(self, row: Row, error: HonedError) -> None:
        """Writes down one row and why it was refused.

        Raises:
            InvalidRequest: The file cannot be written.
        """
        if self._file is None:
            with self._usable():
                self._file = self.path.open("a", encoding="utf-8")
        facts = {"reason": error.reason, "message": error.message}
        self._file.write(json.dumps({"line": row.line, "row": row.content, **facts}) + "\n")
        self._said += 1
        if self._said <= _SAID_ROWS:
            self._say(described(error, f"{self._source}, line {row.line}"))
        elif self._said == _SAID_ROWS + 1:
            self._say(f"honed: more rows are refused; all are written to {self.path}")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.path} cannot be written ({error.strerror}); give --errors FILE"
            raise InvalidRequest(message, "ERRORS_FILE", "INVALID_ARGUMENT") from error

    def flush(self) -> None:
        """Hands what was added to the system."""
        if self._file is not None:
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
