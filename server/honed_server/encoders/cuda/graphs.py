"""The seam to CUDA: streams, memory that the GPU can read by itself, and steps that are replayed.

All that needs a GPU stands here and in `honed_kernels.streams`; with `Direct` the rest of the
engine runs on a CPU, line by line the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from honed_kernels.streams import CpuStream, CudaStream, Stream

_capturing = Lock()  # PyTorch records one graph at a time in a process
_streams: dict[torch.device, list[tuple[CudaStream, CudaStream]]] = {}  # in nobody's hands


class Graphs(Protocol):
    """What one encoder needs of one device."""

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""

    @property
    def serving(self) -> Stream:
        """The stream that answers."""

    @property
    def copying(self) -> Stream:
        """The stream that brings what the next batch reads."""

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the host that a copy needs no help of the processor for."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """What does `step` again, on the stream in which it is called.

        Args:
            step: reads and writes tensors at fixed addresses, never waits for the device, and
                launches the same work whenever it is called. It runs once here.
        """

    def mark(self) -> Callable[[], None]:
        """What waits until all work given to `serving` so far is done; others may run meanwhile."""


class CudaGraphs:
    """A GPU, with streams of its own and one pool of memory for all its graphs.

    They may share it since they are replayed one after the other, and nobody reads what they leave
    in it. Streams return when an encoder is gone: PyTorch has 32, and would give the next ones out
    twice. What one encoder launches must not get into another's recording.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        free = _streams.setdefault(device, [])
        pair = free.pop() if free else (_stream(device), _stream(device))
        weakref.finalize(self, free.append, pair)
        self.serving, self.copying = pair
        self._pool = torch.cuda.graph_pool_handle()

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Pinned memory."""
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record a CUDA graph."""
        # The first run compiles kernels and lets libraries allocate what they keep: neither may
        # happen while a graph is recorded.
        self.serving.run(step)
        graph = torch.cuda.CUDAGraph()
        # Other threads go on serving other encoders: only this one is watched.
        stream = self.serving.stream
        with _capturing, torch.cuda.graph(graph, self._pool, stream, "thread_local"):
            step()
        return graph.replay

    def mark(self) -> Callable[[], None]:
        """Record an event whose wait neither spins nor holds the interpreter."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self.serving.stream)
        return event.synchronize


def _stream(device: torch.device) -> CudaStream:
    return CudaStream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


class Direct:
    """A CPU: every step is done at once, and again whenever it is called."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.serving = self.copying = CpuStream()

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Plain memory."""
        return torch.zeros(shape, dtype=dtype)

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run the step as a GPU would before it records it."""
        step()
        return step

    def mark(self) -> Callable[[], None]:
        """Nothing is under way."""
        return lambda: None
