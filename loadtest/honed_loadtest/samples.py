"""What a load client notes about each request, as it goes from its process to the harness."""

import json
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.errors import BenchError

SAMPLE = np.dtype([
    ("question", "<i4"),  # index of what was asked in the job's questions
    ("due", "<f8"),  # when it should be sent, in seconds from where counting begins
    ("sent", "<f8"),  # when it was
    ("ended", "<f8"),  # when its answer or error was there
    ("status", "<i2"),  # gRPC status code of the call or of a text of it; 0 is an answer
    ("texts", "<i4"),  # how many of its texts were answered
    ("version", "<u8"),  # which answered the first of them
    ("revision", "<u8"),
    ("queued_s", "<f8"),  # what the server says it waited for the engine
    ("computed_s", "<f8"),  # what it says that its batch took
])  # fmt: skip

Samples = NDArray[np.void]
"""SAMPLE (requests,)."""


def write(stream: IO[bytes], facts: dict[str, Any], array: NDArray[Any]) -> None:
    """Writes a line of JSON, then the array's bytes."""
    stream.write(json.dumps(facts | {"bytes": array.nbytes}).encode() + b"\n")
    stream.write(array.tobytes())
    stream.flush()


def read(stream: IO[bytes], kind: np.dtype[Any]) -> tuple[dict[str, Any], NDArray[Any]]:
    """Reads what `write` wrote.

    Raises:
        BenchError: The other end went away.
    """
    line = stream.readline()
    if not line:
        raise BenchError("a load client ended before it was done; what it said is above")
    facts = json.loads(line)
    return facts, np.frombuffer(stream.read(facts.pop("bytes")), kind)
