"""The seam to the GPU: what checks and measurements need of a device, and the CPU's stand-in.

On the CPU (`--dry-run`) the kernels run in Triton's interpreter; graphs are not recorded and times
mean nothing, but the same code runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from honed_kernels.gpu.kernels import Launches

Call = Callable[[], Any]

_SAMPLES = 40
_LONG_US = 1_000.0


class Device(Protocol):
    """Where kernels run."""

    @property
    def place(self) -> torch.device:
        """Where tensors lie."""

    def about(self) -> dict[str, Any]:
        """What the results should say of it."""

    def capture(self, step: Call) -> Call:
        """Run `step` to warm up, and return what does it again without the host."""

    def time(self, call: Call, *, cold: bool = False) -> float:
        """Median time of a call in microseconds, with what it reads out of the cache if `cold`."""

    def launches(self, call: Call) -> int | None:
        """Pieces of work that a call gives the device; None if that cannot be told."""

    def peak(self, call: Call) -> int | None:
        """Bytes that a call takes at most, its results included; None if that cannot be told."""

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`torch.compile`."""

    def synchronize(self) -> None:
        """Wait for all work; raises if the device is lost."""


class Gpu:
    """The current CUDA device. Its cache is emptied by writing twice its size."""

    def __init__(self) -> None:
        self.place = torch.device("cuda", torch.cuda.current_device())
        self._about = torch.cuda.get_device_properties(self.place)
        flush = max(2 * self._about.L2_cache_size, 2**28)
        self._flush = torch.empty(flush, dtype=torch.int8, device=self.place)
        self._side: torch.cuda.Stream = torch.cuda.Stream(self.place)  # type: ignore[no-untyped-call]

    def about(self) -> dict[str, Any]:
        """Name, architecture, size."""
        return {
            "name": self._about.name,
            "capability": f"{self._about.major}.{self._about.minor}",
            "multiprocessors": self._about.multi_processor_count,
            "memory_bytes": self._about.total_memory,
            "l2_bytes": self._about.L2_cache_size,
            "cuda": torch.version.cuda,
        }

    def capture(self, step: Call) -> Call:
        """Record a CUDA graph, after two runs beside: libraries allocate at the first."""
        here = torch.cuda.current_stream()
        self._side.wait_stream(here)
        with torch.cuda.stream(self._side):
            step()
            step()
        here.wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._side):
                step()
        except BaseException:
            # PyTorch stays on the other stream, and takes the generator for recorded ever after.
            torch.cuda.set_stream(here)
            generator = torch.cuda.default_generators[self.place.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        return graph.replay

    def time(self, call: Call, *, cold: bool = False) -> float:
        """By events round each of up to 40 calls; fewer of long ones."""
        found = [self._sample(call, cold) for _ in range(3)]
        more = _SAMPLES if median(found) < _LONG_US else 7
        return median(self._sample(call, cold) for _ in range(more))

    def _sample(self, call: Call, cold: bool) -> float:
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        if cold:
            self._flush.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        elapsed: float = start.elapsed_time(end)
        return elapsed * 1e3

    def launches(self, call: Call) -> int | None:
        """Kernels, copies and fills, as PyTorch's profiler sees them; None where it sees none."""
        call()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            call()
            torch.cuda.synchronize()
        events = seen.events() or []
        return sum(event.device_type.name == "CUDA" for event in events) or None

    def peak(self, call: Call) -> int | None:
        """By the counters of PyTorch's allocator."""
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated(self.place)
        torch.cuda.reset_peak_memory_stats(self.place)
        call()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated(self.place)) - before

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """For these sizes alone, which is the fastest."""
        return torch.compile(function, fullgraph=True, dynamic=False)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize()


class Interpreter:
    """The CPU, with the kernels in Triton's interpreter."""

    def __init__(self, launched: Launches) -> None:
        self.place = torch.device("cpu")
        self._launched = launched

    def about(self) -> dict[str, Any]:
        """That it is none."""
        return {"name": "Triton's interpreter on a CPU"}

    def capture(self, step: Call) -> Call:
        """Nothing is recorded: the step itself."""
        return step

    def time(self, call: Call, *, cold: bool = False) -> float:
        """Of a single call: it says nothing of a GPU."""
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) * 1e6

    def launches(self, call: Call) -> int | None:
        """Of our own kernels only."""
        before = self._launched.total()
        call()
        return self._launched.total() - before or None

    def peak(self, call: Call) -> int | None:
        """Not told."""
        return None

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Traced as on a GPU, but no code is made."""
        return torch.compile(function, fullgraph=True, dynamic=False, backend="eager")

    def synchronize(self) -> None:
        """Nothing is under way."""
