"""Where encoders run: on the cores of the CPU or on NVIDIA GPUs, as settings and machine say.

Decided once, before anything is loaded. A server that runs on the CPU never loads torch.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from honed_adapt.encoders.store import EncoderFiles
from honed_server.config import ServerConfig
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.timing import CPU_SHAPES, Seconds, thread_seconds
from honed_server.serving.generations import Encoder

_INSTALL = "pip install 'honed[kernels]'"


class DeviceUnavailable(RuntimeError):
    """The settings ask for a device that is not there; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where encoders run, and what the server must know of it.

    Attributes:
        load: Opens an encoder there; raises EncoderDamaged if it is not what was imported.
        workers: Threads of the engine that keep it busy.
        integers: Whether it computes in 8-bit integers too.
        shapes: Tokens and rows of the batches that tell what runs cost, the largest last.
        seconds: Times an answer there, so that two can be compared beside other work.
    """

    load: Callable[[EncoderFiles], Encoder]
    workers: int
    integers: bool
    shapes: Sequence[tuple[int, int]]
    seconds: Seconds


def find_device(config: ServerConfig) -> Device:
    """The device that the settings name, or the best one that is there.

    Raises:
        DeviceUnavailable: They name what is not there.
    """
    why = "device = cpu" if config.device == "cpu" else _no_gpu()
    if why is None:
        from honed_server.encoders.cuda.device import gpus

        found = gpus(config.precision)
        if isinstance(found, Device):
            return found
        why = found
    if config.device == "cuda":
        raise DeviceUnavailable(f"device = cuda, but {why}; or set device = auto")
    if config.precision in ("fp16", "bf16"):
        raise DeviceUnavailable(
            f"precision = {config.precision} is for NVIDIA GPUs, but {why}; or set precision = auto"
        )
    return Device(OnnxEncoder, config.workers, True, CPU_SHAPES, thread_seconds)


def _no_gpu() -> str | None:
    """Why there can be no serving on a GPU here; None if torch has to be asked."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver shows no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES"
    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed: {_INSTALL}"
    return None
