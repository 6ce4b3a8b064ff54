"""Identifiers of answers: unique, time-ordered, cheap to make."""

import itertools
import secrets
import time


class PredictionIds:
    """Makes 32 hexadecimal characters: 12 of unix milliseconds, 10 per process, 10 counted."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(5)
        self._count = itertools.count()

    def new(self) -> str:
        """The next identifier."""
        milliseconds = time.time_ns() // 1_000_000
        return f"{milliseconds:012x}{self._process}{next(self._count) & 0xFFFFFFFFFF:010x}"
