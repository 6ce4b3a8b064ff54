"""Calls that outlive a server that is away for a while: try again until the patience is spent."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from honed.errors import DeadlineExceeded, HonedError, Overloaded, Unavailable

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 2.0

Value = TypeVar("Value")


class Patience:
    """Repeats harmless calls while the server is away, slow or full.

    Args:
        seconds: How long one trouble may last before its error is raised.
        say: Prints a line; told once about each trouble.
    """

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._say = say

    def call(self, attempt: Callable[[], Value]) -> Value:
        """Makes a call until it is answered.

        Raises:
            HonedError: It was refused, or the patience is spent.
        """
        delay_s, began = _FIRST_DELAY_S, None
        while True:
            try:
                return attempt()
            except (Unavailable, DeadlineExceeded, Overloaded) as error:
                wait_s = max(delay_s, error.retry_after_s or 0.0)
                if began is None:
                    began = monotonic()
                    self._announce(error)
                if monotonic() - began + wait_s > self._seconds:
                    raise
                sleep(wait_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _announce(self, error: HonedError) -> None:
        if self._seconds:
            self._say(f"honed: {error.message}; trying again for {self._seconds:g} s")
