"""Marks on the timeline of a run: what happened to the models while they were asked.

`Marks` watches all models of a server and notes when each event was heard, when the server went
away and came back, and what labels were submitted. Times are monotonic seconds of this machine, the
clock of the load clients too.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self

from honed import Client, HonedError

_RECONNECT_S = 0.2
_SETTLE_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened.

    Attributes:
        at: When, a monotonic second.
        kind: What: a kind of Watch event, "label", "served", "away" or "back".
        model: To which model; "" for the server.
        version: Version that served after it; 0 if not said.
        position: Log position: of the label, or of what had been learned after it.
    """

    at: float
    kind: str
    model: str = ""
    version: int = 0
    position: int = 0


class Marks:
    """Notes what happens on a server while its block runs.

    Args:
        client: To watch with.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: list[Mark] = []
        self._lock = Lock()
        self._stop = Event()
        self._listening = Event()
        self._events: Any = None
        self._thread = Thread(target=self._listen)

    def add(self, kind: str, model: str = "", version: int = 0, position: int = 0) -> None:
        """Notes something that happens now."""
        mark = Mark(monotonic(), kind, model, version, position)
        with self._lock:
            self._found.append(mark)

    def found(self) -> list[Mark]:
        """All marks so far in order of time, each label followed by when it was served."""
        with self._lock:
            marks = list(self._found)
        return sorted([*marks, *served(marks)], key=lambda mark: mark.at)

    def settled(self, patience_s: float) -> list[Mark]:
        """What `found` returns once all labels have been served, or the patience is spent."""
        deadline = monotonic() + patience_s
        while True:
            found = self.found()
            kinds = Counter(mark.kind for mark in found)
            if kinds["served"] == kinds["label"] or monotonic() > deadline:
                return found
            self._stop.wait(_SETTLE_POLL_S)

    def _listen(self) -> None:
        away = False
        while not self._stop.is_set():
            try:
                self._events = self._client.watch()
                if self._stop.is_set():
                    return
                for event in self._events:
                    if away:
                        self.add("back")
                    away = False
                    self._listening.set()
                    model = event.model
                    if event.kind != "snapshot":
                        self.add(event.kind, model.name, model.version, model.revision)
            except HonedError:
                if not away and not self._stop.is_set():
                    self.add("away")
                away = True
                self._stop.wait(_RECONNECT_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._events is not None:
            self._events.close()
        self._thread.join()


def served(marks: Sequence[Mark]) -> list[Mark]:
    """A "served" mark for each label that had been learned when an event was heard.

    An event may come before the acknowledgement of a label that it includes: then the label counts
    as served when it was acknowledged.
    """
    events: defaultdict[str, list[Mark]] = defaultdict(list)
    for mark in sorted(marks, key=lambda mark: mark.at):
        heard = events[mark.model]
        if mark.kind != "label" and mark.position > (heard[-1].position if heard else 0):
            heard.append(mark)
    found = []
    for label in (mark for mark in marks if mark.kind == "label"):
        heard = events[label.model]
        first = bisect_left(heard, label.position, key=lambda mark: mark.position)
        if first < len(heard):
            at, version = max(label.at, heard[first].at), heard[first].version
            found.append(Mark(at, "served", label.model, version, label.position))
    return found
