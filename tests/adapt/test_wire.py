"""Frames over real sockets: whole ones arrive as sent, anything else is refused."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import zlib
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from honed_adapt.process.wire import (
    MAX_FRAME_BYTES,
    Frame,
    FrameError,
    pack,
    read_frame,
    read_frame_async,
)

PREFIX_BYTES = 24
DTYPES = st.sampled_from(["float32", "float64", "int64", "uint8"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.text(), JSON, max_size=4)
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    DTYPES.flatmap(
        lambda dtype: arrays_of.arrays(
            dtype, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=5)
        )
    ),
    max_size=3,
)


def by_socket(stream: bytes) -> list[Frame]:
    """Read every frame of a stream that ends, through a real pair of sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=_send_and_close, args=(theirs, stream))
        sender.start()
        try:
            return list(iter(lambda: read_frame(ours), None))
        finally:
            ours.close()  # a sender that still has bytes must not wait for a reader that gave up
            sender.join()


def _send_and_close(sock: socket.socket, stream: bytes) -> None:
    try:
        sock.sendall(stream)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def by_stream(stream: bytes) -> list[Frame]:
    """Read every frame of a stream that ends, through an asyncio reader."""

    async def read() -> list[Frame]:
        reader = asyncio.StreamReader()
        reader.feed_data(stream)
        reader.feed_eof()
        frames = []
        while (frame := await read_frame_async(reader)) is not None:
            frames.append(frame)
        return frames

    return asyncio.run(read())


READERS = pytest.mark.parametrize("read", [by_socket, by_stream])


def forged(content: object, data: bytes = b"", **prefix: Any) -> bytes:
    """Build a frame with a right checksum and whatever content a faulty peer might send."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    raw += b" " * (-len(raw) % 8)
    fields = {"magic": b"HOND", "version": 1, "zero": 0, "body": len(raw + data), "text": len(raw)}
    covered = struct.pack("<4sHHQI", *(fields | prefix).values())
    return covered + struct.pack("<I", zlib.crc32(covered + raw + data)) + raw + data


def same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


@READERS
@settings(max_examples=40, deadline=None)
@given(sent=st.lists(st.tuples(HEADERS, ARRAYS), max_size=3))
def test_frames_arrive_as_they_were_sent(read: Any, sent: list[tuple[Any, Any]]) -> None:
    received = read(b"".join(pack(header, arrays) for header, arrays in sent))
    assert [frame.header for frame in received] == [header for header, _ in sent]
    for frame, (_, arrays) in zip(received, sent, strict=True):
        assert frame.arrays.keys() == arrays.keys()
        assert all(same(frame.arrays[name], arrays[name]) for name in arrays)


@READERS
def test_arrays_are_read_only_aligned_views_of_one_buffer(read: Any) -> None:
    odd = np.arange(3, dtype=np.uint8)
    weight = np.arange(6, dtype=np.float64).reshape(3, 2).T  # not contiguous
    [frame] = read(pack({"n": 1}, {"odd": odd, "weight": weight, "empty": np.zeros((0, 384))}))
    assert frame.arrays["weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    for array in frame.arrays.values():
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert array.ctypes.data % 8 == 0


def test_a_large_head_crosses_a_socket_whole() -> None:
    head = np.random.default_rng(0).standard_normal((2_000, 384)).astype(np.float32)  # 3 MB
    [frame] = by_socket(pack({}, {"weight": head}))
    assert same(frame.arrays["weight"], head)


FRAME = pack({"model": "support", "revision": 7}, {"bias": np.ones(3, np.float32)})


@READERS
def test_a_clean_end_is_no_frame(read: Any) -> None:
    assert read(b"") == []
    assert len(read(FRAME + FRAME)) == 2


@READERS
def test_a_stream_that_ends_inside_a_frame_is_torn(read: Any) -> None:
    for end in range(1, len(FRAME)):
        with pytest.raises(FrameError, match="ended inside"):
            read(FRAME[:end])


@READERS
def test_a_body_as_long_as_a_prefix_may_be_torn_at_its_start(read: Any) -> None:
    frame = forged(b'{"header":{},"arrays":{}')  # 24 bytes of text: not yet refused as JSON
    with pytest.raises(FrameError, match="ended inside"):
        read(frame[:PREFIX_BYTES])


@READERS
def test_every_flipped_bit_is_noticed(read: Any) -> None:
    for bit in range(len(FRAME) * 8):
        damaged = bytearray(FRAME)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            read(bytes(damaged))


def entry(**changes: Any) -> dict[str, Any]:
    return {"header": {}, "arrays": {"a": {"dtype": "int64", "shape": [2], "offset": 0} | changes}}


@pytest.mark.parametrize(
    "frame",
    [
        forged(entry(shape=[3]), bytes(16)),  # reaches past the end
        forged(entry(offset=8), bytes(16)),
        forged(entry(offset=-8), bytes(16)),  # reaches into the text
        forged(entry(offset=4, shape=[1]), bytes(16)),  # not aligned
        forged(entry(shape=[-1]), bytes(16)),
        forged(entry(shape=[-2, -1]), bytes(16)),
        forged(entry(shape=[2**62, 2**62]), bytes(16)),
        forged(entry(shape=[1.0]), bytes(16)),
        forged(entry(shape=2), bytes(16)),
        forged(entry(dtype="object"), bytes(16)),
        forged(entry(dtype="float16"), bytes(16)),
        forged(entry(surprise=1), bytes(16)),
        forged({"header": [], "arrays": {}}),
        forged({"header": {}, "arrays": []}),
        forged({"header": {}}),
        forged([]),
        forged(b"{"),
        forged(b"\xff\xff"),
        forged(b""),
        forged({}, magic=b"GRPC"),
        forged({}, version=2),
        forged({}, zero=1),
        forged({}, text=16),  # longer than the body
        forged({"header": {}, "arrays": {}}, text=30),  # shifts the arrays off their alignment
        forged({}, body=MAX_FRAME_BYTES),  # with its prefix one frame too long
        forged({}, body=2**63),
    ],
)
@READERS
def test_a_wrong_frame_with_a_right_checksum_is_refused(read: Any, frame: bytes) -> None:
    with pytest.raises(FrameError):
        read(frame)


def test_another_format_is_named() -> None:
    with pytest.raises(FrameError, match="format 2; this side speaks 1"):
        by_stream(forged({}, version=2))


@pytest.mark.parametrize(
    "array", [np.zeros(1, np.float16), np.array([None]), np.array(["a"]), np.zeros(1, bool)]
)
def test_only_four_dtypes_travel(array: NDArray[Any]) -> None:
    with pytest.raises(FrameError, match="which no frame carries"):
        pack({}, {"a": array})


def test_a_big_endian_array_travels_as_the_same_numbers() -> None:
    [frame] = by_stream(pack({}, {"a": np.array([1.5, -2], ">f8")}))
    assert frame.arrays["a"].tolist() == [1.5, -2]


def test_a_frame_over_the_limit_is_not_sent() -> None:
    # Broadcasting keeps the array itself small; the frame would hold 256 MiB and its text.
    huge = np.broadcast_to(np.uint8(0), (MAX_FRAME_BYTES,))
    with pytest.raises(FrameError, match="the limit is"):
        pack({}, {"a": huge})


@pytest.mark.parametrize("header", [{"score": float("nan")}, {"when": object()}])
def test_a_header_that_is_not_json_is_not_sent(header: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        pack(header)
