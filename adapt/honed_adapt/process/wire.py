"""Frames: how the server and the adapt process speak over their local Unix socket.

Below `messages.py`, which gives frames a meaning: here they are a JSON object and some arrays. A
revision's head travels as raw bytes, so the receiver reads it in place.

A frame is a prefix of 24 bytes, little-endian, then its body:

    magic "HOND", format u16, zero u16, body length u64, text length u32, CRC-32 u32
    text: JSON {"header": {...}, "arrays": {name: {"dtype", "shape", "offset"}}}, padded to 8 bytes
    arrays: each padded to 8 bytes; offsets count from the end of the text

The checksum covers the prefix before it and the body.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_FRAME_BYTES = 256 * 1024 * 1024
"""Largest frame, prefix included: a head of 20,000 labels over 768 features takes 61 MB."""

_MAGIC = b"HOND"
_FORMAT = 1
_PREFIX = struct.Struct("<4sHHQII")
_COVERED = _PREFIX.size - 4
_ALIGN = 8
_DTYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8", "uint8": "|u1"}
_Bytes: TypeAlias = bytes | bytearray | memoryview


class FrameError(ValueError):
    """Bytes that are not one whole frame, or content that no frame may carry.

    The stream cannot be trusted after it: close the connection and open a new one.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What one frame carries.

    Attributes:
        header: a JSON object.
        arrays: float32, float64, int64 or uint8, of any shape; read-only views of the received
            bytes, aligned to 8.
    """

    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Prefix:
    body_bytes: int
    text_bytes: int
    checksum: int
    covered: bytes


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """Return the bytes of one frame.

    Args:
        header: a JSON object without NaN or infinity.
        arrays: float32, float64, int64 or uint8; see `Frame.arrays`.

    Raises:
        FrameError: if an array has another dtype or the frame would exceed `MAX_FRAME_BYTES`.
        ValueError, TypeError: if `header` is not JSON.
    """
    arrays = arrays or {}
    described, data_bytes = _describe(arrays)
    content = {"header": dict(header), "arrays": described}
    text = _padded(json.dumps(content, allow_nan=False, separators=(",", ":")).encode(), b" ")
    body_bytes = len(text) + data_bytes
    size = _PREFIX.size + body_bytes
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"the frame would hold {size} bytes; the limit is {MAX_FRAME_BYTES}")
    covered = _PREFIX.pack(_MAGIC, _FORMAT, 0, body_bytes, len(text), 0)[:_COVERED]
    body: list[_Bytes] = [text]
    for array in arrays.values():
        body += _array_bytes(array)
    checksum = _checksum(covered, *body).to_bytes(4, "little")
    return b"".join([covered, checksum, *body])


def _describe(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, dict[str, Any]], int]:
    described: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise FrameError(f"array {name!r} is {array.dtype}, which no frame carries")
        described[name] = {"dtype": array.dtype.name, "shape": array.shape, "offset": offset}
        offset += array.nbytes + -array.nbytes % _ALIGN
    return described, offset


def _array_bytes(array: NDArray[Any]) -> tuple[memoryview, bytes]:
    """What an array holds, without a copy where it lies in one piece, and what pads it."""
    flat = np.ascontiguousarray(array, _DTYPES[array.dtype.name]).reshape(-1)
    return flat.view(np.uint8).data, bytes(-array.nbytes % _ALIGN)


def read_frame(sock: socket.socket) -> Frame | None:
    """Read one frame from a blocking socket; None if the peer closed it between two frames.

    Raises:
        FrameError: if the bytes are not a frame, or the stream ends inside one.
        OSError: if the connection breaks or the socket's timeout passes.
    """
    start = _receive(sock, _PREFIX.size)
    if not start:
        return None
    prefix = _parse_prefix(start)
    return _parse_body(prefix, _receive(sock, prefix.body_bytes))


async def read_frame_async(reader: asyncio.StreamReader) -> Frame | None:
    """Read one frame from a stream; None if the peer closed it between two frames.

    Raises:
        FrameError: if the bytes are not a frame, or the stream ends inside one.
        OSError: if the connection breaks.
    """
    start = await _receive_async(reader, _PREFIX.size)
    if not start:
        return None
    prefix = _parse_prefix(start)
    return _parse_body(prefix, await _receive_async(reader, prefix.body_bytes))


def _receive(sock: socket.socket, count: int) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    done = 0
    while done < count:
        received = sock.recv_into(view[done:])
        if not received:
            break
        done += received
    view.release()
    del buffer[done:]
    return buffer


async def _receive_async(reader: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as torn:
        return torn.partial


def _parse_prefix(start: _Bytes) -> _Prefix:
    if len(start) < _PREFIX.size:
        raise FrameError("the stream ended inside a frame")
    magic, version, zero, body_bytes, text_bytes, checksum = _PREFIX.unpack(start)
    if magic != _MAGIC or zero:
        raise FrameError("these bytes do not begin a frame")
    if version != _FORMAT:
        raise FrameError(f"the peer speaks frame format {version}; this side speaks {_FORMAT}")
    too_long = body_bytes > MAX_FRAME_BYTES - _PREFIX.size
    if too_long or text_bytes > body_bytes or text_bytes % _ALIGN:
        raise FrameError(f"a frame claims {body_bytes} bytes, {text_bytes} of them text")
    return _Prefix(body_bytes, text_bytes, checksum, bytes(start)[:_COVERED])


def _parse_body(prefix: _Prefix, body: _Bytes) -> Frame:
    view = memoryview(body).toreadonly()
    if len(view) < prefix.body_bytes:
        raise FrameError("the stream ended inside a frame")
    if _checksum(prefix.covered, view) != prefix.checksum:
        raise FrameError("the frame's checksum does not match its bytes")
    try:
        content = json.loads(bytes(view[: prefix.text_bytes]))
        header, described = content["header"], content["arrays"]
        data = view[prefix.text_bytes :]
        arrays = {name: _array(data, **entry) for name, entry in described.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise FrameError(f"the frame's text does not describe it: {fault}") from fault
    if not isinstance(header, dict):
        raise FrameError("the frame's header is not a JSON object")
    return Frame(header, arrays)


def _array(data: memoryview, *, dtype: str, shape: list[int], offset: int) -> NDArray[Any]:
    # ndarray refuses what reaches beyond the frame's end, but not what starts before its data.
    if offset % _ALIGN or offset < 0 or min(shape, default=0) < 0:
        raise FrameError(f"an array claims shape {shape} at offset {offset}")
    return np.ndarray(shape, _DTYPES[dtype], buffer=data, offset=offset)


def _checksum(*parts: _Bytes) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _padded(chunk: bytes, filler: bytes) -> bytes:
    return chunk + filler * (-len(chunk) % _ALIGN)
