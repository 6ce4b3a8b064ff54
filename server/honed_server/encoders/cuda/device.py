"""The GPUs of this machine as a device for the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
import torch

from honed_adapt.encoders.store import EncoderDamaged, EncoderFiles, Precision
from honed_server.encoders.cuda.encoder import LANES, TorchEncoder
from honed_server.encoders.cuda.graphs import CudaGraphs, Graphs
from honed_server.encoders.cuda.shapes import shapes_up_to
from honed_server.encoders.devices import Device
from honed_server.encoders.timing import device_seconds

log = structlog.get_logger(__name__)

_MOST_TIMED = 8192


def gpus(precision: str) -> Device | str:
    """All GPUs that torch sees, or why it sees none.

    Args:
        precision: as in the settings. auto is fp16: as fast as bf16, and eight times as exact. An
            encoder whose values leave its range is computed in bf16, and in fp32 if need be.
    """
    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} cannot use it: install a build for the driver's CUDA "
            "version, see https://pytorch.org/get-started"
        )
    devices = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    wanted: Sequence[Precision] = ("fp16", "bf16", "fp32")
    if precision != "auto":
        wanted = [each for each in wanted if each == precision]
    return torch_device([partial(CudaGraphs, device) for device in devices], wanted)


def torch_device(
    places: Sequence[Callable[[], Graphs]],
    precisions: Sequence[Precision],
    most_tokens: int | None = None,
) -> Device:
    """Some devices that PyTorch computes on.

    Args:
        places: what gives an encoder its streams and graphs, for each device.
        precisions: the first in which an encoder's probes come out right is used.
        most_tokens: of a batch on a device; by default what is worth it.
    """

    def load(files: EncoderFiles) -> TorchEncoder:
        for precision in precisions[:-1]:
            try:
                return load_as(files, precision)
            except EncoderDamaged as error:
                log.warning("encoder needs another precision", tried=precision, why=str(error))
        return load_as(files, precisions[-1])

    def load_as(files: EncoderFiles, precision: Precision) -> TorchEncoder:
        graphs = [place() for place in places]
        return TorchEncoder(replace(files, precision=precision), graphs, most_tokens)

    shapes = _timed(most_tokens or _MOST_TIMED)
    return Device(load, LANES * len(places), False, shapes, device_seconds)


def _timed(most_tokens: int) -> list[tuple[int, int]]:
    """A batch of 16-token texts for each graph, and one of shorter texts for the cost of a row."""
    shapes = shapes_up_to(most_tokens)
    middle = shapes[len(shapes) // 2]
    return [(middle.tokens, middle.rows), *((each.tokens, each.tokens // 16) for each in shapes)]
