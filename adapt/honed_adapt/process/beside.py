"""A process that works beside the server: behind it in everything, and in touch with it.

The adapt process and the trainers stand here. `step_back` is for their start; `ServerLine` is their
socket to the server, and the place where they wait for their budget between slices of work.
"""

import ctypes
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from time import monotonic, process_time

from honed_adapt.process import messages, wire
from honed_adapt.process.budget import FLOORS, Budget

_PR_SET_PDEATHSIG = 1


class ServerGone(Exception):
    """The server has closed the connection: there is nothing left to work for."""


def step_back(nice: int = 19) -> None:
    """Puts this process behind serving; call it before it starts threads, which inherit it.

    It gives way as soon as serving wants its core, is the first to go when memory is full, and does
    not survive its parent.

    Args:
        nice: niceness to add.
    """
    os.nice(nice)
    # A batch task does not preempt others when it wakes; it is preempted as before.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Without this a full memory would take the server as likely as this process.
    Path("/proc/self/oom_score_adj").write_text("800")


class ServerLine:
    """The connection of a process that learns, within its budget of CPU time.

    `pause` goes between slices of work, each of some tens of milliseconds:

        for batch in batches:
            line.pause()
            step(batch)

    Args:
        path: of the server's socket.
        role: "adapt" or "trainer"; labels are always allowed more than training.
    """

    def __init__(self, path: str, role: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._sending = Lock()
        self._heard: deque[messages.Message] = deque()
        self._budget = Budget(FLOORS[role], monotonic())
        self._spare = Budget(FLOORS["spare"], monotonic())
        self._paid = process_time()
        self.send(messages.Hello(role, os.getpid()))

    @property
    def share(self) -> float:
        """How much of a core this process may take now."""
        return self._budget.share

    def send(self, message: messages.Message) -> None:
        """Says something to the server; any thread may."""
        frame = messages.encode(message)
        with self._sending:
            self._socket.sendall(frame)

    def ready(self) -> bool:
        """Whether the server has said something that `hear` has not returned; never waits."""
        while not self._heard and self._readable(0):
            self._receive()
        return bool(self._heard)

    def hear(self) -> messages.Message:
        """What the server says next; waits for it. Reports of its load never arrive here.

        Raises:
            ServerGone: The server has closed the connection.
        """
        # What was done is paid for in the time that is waited here, not by whatever comes next.
        self._charge(self._budget)
        while not self._heard:
            self._receive()
        return self._heard.popleft()

    def pause(self) -> None:
        """Waits until the budget allows the next slice; what the server says meanwhile is kept.

        Raises:
            ServerGone: As `hear`.
        """
        self._charge(self._budget)
        while self._readable(self._budget.wait_s(monotonic())):
            self._receive()

    @contextmanager
    def spare(self, *, patient: bool = False) -> Iterator[bool]:
        """Makes room for a slice of work that nobody waits for, on a budget of its own.

        So that what it costs delays no label; entered, it says whether to do the slice now.

        Args:
            patient: wait for the budget even if the server says something meanwhile, which
                otherwise calls the slice off.

        Raises:
            ServerGone: As `hear`.
        """
        self._charge(self._budget)
        while (patient or not self._heard) and self._readable(self._spare.wait_s(monotonic())):
            self._receive()
        yield patient or not self._heard
        self._charge(self._spare)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _charge(self, budget: Budget) -> None:
        used = process_time()
        budget.pay(used - self._paid, monotonic())
        self._paid = used

    def _readable(self, patience_s: float) -> bool:
        return bool(select.select([self._socket], [], [], patience_s)[0])

    def _receive(self) -> None:
        try:
            frame = wire.read_frame(self._socket)
        except ConnectionError as error:
            raise ServerGone from error
        if frame is None:
            raise ServerGone
        message = messages.decode(frame)
        if isinstance(message, messages.Load):
            self._budget.hear(message, monotonic())
            self._spare.hear(message, monotonic())
        else:
            self._heard.append(message)
