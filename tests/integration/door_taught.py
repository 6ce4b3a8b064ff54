"""A server without an adapt process, whose model got its head from the offer door."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import numpy as np
from journeys import metric, trainer

from harness import RunningServer, running
from honed_adapt.head import Head
from honed_adapt.process import messages

MODEL = "m"


@contextmanager
def offered(home: Path, hidden: int = 384, **settings) -> Iterator[RunningServer]:
    """A server with one worker whose model `m` knows five labels."""
    with running(home, example=False, adapt=False, workers=1, **settings) as server:
        with server.client() as client, trainer(home) as door:
            client.create_model(MODEL)
            weight = np.random.default_rng(0).normal(size=(5, hidden)).astype(np.float32)
            head = Head(tuple("abcde"), weight, np.zeros(5, np.float32), 1.0)
            verdict = door.offer(messages.Revision(MODEL, 1, 1, head, 1, 0, 0, 0))
            assert verdict.outcome == "accepted", verdict
        yield server


def reached(server: RunningServer, name: str, value: float, timeout_s: float = 20) -> None:
    """Returns when a series has the value."""
    deadline = monotonic() + timeout_s
    while (found := metric(server.server.http_port, name)) != value:
        assert monotonic() < deadline, f"{name} is {found}, not {value}"
