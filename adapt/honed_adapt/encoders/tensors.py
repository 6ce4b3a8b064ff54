"""Tensors in safetensors files: read in blocks, as float32, and written in one canonical form.

It stands between a checkpoint and the encoder store. The canonical form makes equal weights equal
bytes, whatever else the checkpoint held and however it was saved. Blocks are read, never mapped:
a mapped file that its owner cuts meanwhile would kill the process.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from honed_adapt.encoders.checkpoint import EncoderUnsupported

_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_BLOCK = 2**20  # elements in memory at once
_FLOAT_BYTES = 4
# Names that old BERT checkpoints gave to the parts of a layer norm, as transformers renames them.
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True, slots=True)
class Span:
    """Where one tensor lies in a safetensors file.

    Attributes:
        dtype: as safetensors writes it, such as "F32".
        shape: its dimensions.
        offset: its first byte, counted from the start of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_spans(path: Path) -> dict[str, Span]:
    """Where each tensor lies in a safetensors file.

    The format: n as a little-endian uint64, n bytes of JSON, then the data that the JSON's offsets
    count from (https://huggingface.co/docs/safetensors, "Format").

    Raises:
        EncoderUnsupported: if it is not a sound safetensors file.
    """
    try:
        with safe_open(path, "np"):  # checks the header, and that it covers the file to its end
            pass
    except SafetensorError as error:
        raise EncoderUnsupported(f"{path} is not a sound safetensors file: {error}") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        name: Span(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    }


class TensorFile:
    """The tensors of a checkpoint by the names of its family, widened to float32.

    Args:
        path: a safetensors file.
        prefix: what its encoder's names may begin with.

    Raises:
        EncoderUnsupported: if it is not a sound safetensors file.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self._spans = {_name(name, prefix): span for name, span in read_spans(path).items()}

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that is there."""
        return self._spans[name].shape

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """One tensor, whole; raises as `blocks` does."""
        return np.concatenate(list(self.blocks(name, shape))).reshape(shape)

    def blocks(self, name: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
        """A tensor's elements in order, flat, at most a million at a time.

        Raises:
            EncoderUnsupported: if it is missing, has another shape, a type that Honed does not
                widen exactly, or holds NaN or infinity.
        """
        span = self._checked(name, shape)
        with self.path.open("rb") as file:
            file.seek(span.offset)
            for start in range(0, prod(shape), _BLOCK):
                count = min(_BLOCK, prod(shape) - start)
                stored = np.fromfile(file, _STORED[span.dtype], count)
                if stored.size != count:
                    raise EncoderUnsupported(f"{self.path} changed while it was being read")
                block = _widened(stored)
                if not np.isfinite(block).all():
                    raise EncoderUnsupported(
                        f"{self.path}: {name} holds NaN or infinity; train the model again"
                    )
                yield block

    def _checked(self, name: str, shape: tuple[int, ...]) -> Span:
        span = self._spans.get(name)
        if span is None:
            raise EncoderUnsupported(f"{self.path} lacks the tensor {name}")
        if span.dtype not in _STORED:
            raise EncoderUnsupported(
                f"{self.path}: {name} is {span.dtype}; Honed serves {', '.join(_STORED)}: save the "
                "model unquantised, in float32"
            )
        if span.shape != shape:
            raise EncoderUnsupported(
                f"{self.path}: {name} has shape {span.shape}; config.json says {shape}"
            )
        return span


def canonical(
    tensors: TensorFile, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[bytes | memoryview]:
    """A safetensors file of these tensors only: float32, sorted by name, without metadata.

    Yields:
        Its bytes, in pieces of at most 4 MiB.

    Raises:
        EncoderUnsupported: as `TensorFile.blocks` does.
    """
    names = sorted(shapes)
    header, end = {}, 0
    for name in names:
        start, end = end, end + prod(shapes[name]) * _FLOAT_BYTES
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        for block in tensors.blocks(name, shapes[name]):
            yield block.data


def _name(name: str, prefix: str) -> str:
    name = name.removeprefix(prefix)
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def _widened(stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Exactly the same numbers as float32; uint16 holds the upper half of a float32 (bfloat16)."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)
