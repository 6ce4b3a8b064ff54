"""Burns CPU time as a load client would, beside a measurement that has no client."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, thread_time

from honed_loadtest.repeated import repeated


@contextmanager
def burning(share: float, per_s: float) -> Iterator[None]:
    """Keeps this process busy for `share` of a core while the block runs.

    Args:
        share: Cores to burn, 0 to 1.
        per_s: Bursts a second: as many as the client had requests, so that each is as short.
    """
    began, burnt = monotonic(), 0.0

    def burst() -> None:
        nonlocal burnt
        due = share * (monotonic() - began) - burnt
        started = thread_time()
        while thread_time() - started < due:
            pass
        burnt += thread_time() - started

    with repeated(burst, per_s):
        yield
