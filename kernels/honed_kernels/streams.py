"""The seam to CUDA streams: what the head table needs of one, and what stands in on the CPU.

Work on one stream runs in the order in which it was given; two streams meet only at events.
Nothing here waits on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

Made = TypeVar("Made")


class Event(Protocol):
    """A point in the work of a stream."""

    def query(self) -> bool:
        """Whether all work before it is done."""


class Stream(Protocol):
    """A queue of work on a device."""

    def make(self, allocate: Callable[[], Made]) -> Made:
        """Allocate now, in memory whose earlier users are in this stream."""

    def run(self, work: Callable[[], object]) -> None:
        """Queue what `work` launches; it must not synchronise."""

    def record(self) -> Event:
        """Mark the end of what is queued so far."""

    def wait(self, event: Event) -> None:
        """Let all later work of this stream start after `event`."""


@dataclass(frozen=True, slots=True)
class CudaStream:
    """A stream of an NVIDIA or AMD GPU."""

    stream: torch.cuda.Stream

    def make(self, allocate: Callable[[], Made]) -> Made:
        """Allocate from this stream's pool."""
        with torch.cuda.stream(self.stream):
            return allocate()

    def run(self, work: Callable[[], object]) -> None:
        """Queue what `work` launches."""
        with torch.cuda.stream(self.stream):
            work()

    def record(self) -> torch.cuda.Event:
        """Mark the end of what is queued so far."""
        event: torch.cuda.Event = self.stream.record_event()
        return event

    def wait(self, event: Event) -> None:
        """Let all later work start after `event`."""
        assert isinstance(event, torch.cuda.Event)
        self.stream.wait_event(event)


class _Done:
    def query(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class CpuStream:
    """Does everything at once: on the CPU nothing is asynchronous."""

    def make(self, allocate: Callable[[], Made]) -> Made:
        """Allocate."""
        return allocate()

    def run(self, work: Callable[[], object]) -> None:
        """Do it now."""
        work()

    def record(self) -> Event:
        """Return an event that has passed."""
        return _Done()

    def wait(self, event: Event) -> None:
        """Return at once: it has passed."""


def stream_of(device: torch.device, *, new: bool) -> Stream:
    """A new stream of a device, or the one that is current."""
    if device.type != "cuda":
        return CpuStream()
    return CudaStream(
        torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        if new
        else torch.cuda.current_stream(device)
    )
