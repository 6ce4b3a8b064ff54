"""Does something again and again beside a measurement, at a steady rate."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from time import monotonic


@contextmanager
def repeated(act: Callable[[], None], per_s: float) -> Iterator[None]:
    """Calls `act` so many times a second in a thread while the block runs.

    A call that takes longer than its time delays the next ones, and none is made up for.

    Raises:
        Exception: Whatever `act` raised, when the block ends.
    """
    stop = Event()

    def work() -> None:
        due = monotonic()
        while not stop.wait(max(due - monotonic(), 0)):
            act()
            due = max(due + 1 / per_s, monotonic())

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            stop.set()
        working.result()
