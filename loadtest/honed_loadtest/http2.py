"""gRPC calls over HTTP/2 on a plain socket, for load clients that share their cores with a server.

They are the same calls that any gRPC client makes, over one connection that carries many at a time;
what is left out is what a load client does not need: threads, retries, interceptors, compression.
At 450 unary calls a second it takes 0.1 ms of CPU a call, where gRPC's own Python client takes 0.5
(docs/load-testing.md). Frames: RFC 9113; headers: RFC 7541, without compression and with an
empty table, so that each block can be read by itself; calls: gRPC's PROTOCOL-HTTP2.md.
"""

import socket
import struct
from collections import deque
from collections.abc import Iterator
from functools import lru_cache

from honed_loadtest.errors import BenchError

UNKNOWN, UNAVAILABLE = 2, 14
"""gRPC status codes: of a call that ended without any, and of one whose connection was lost."""

_END, _ACK, _WHOLE_HEADERS = 1, 1, 4
_TABLE_SIZE, _INITIAL_WINDOW = 1, 4
_CANCEL = 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW, _FIRST_WINDOW = 2**31 - 1, 65_535
_LARGEST_FRAME = 16_384
_READ_BYTES = 1 << 18


class _Kind:
    DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8


class Connection:
    """One connection to a gRPC server. Not for several threads.

    Args:
        target: "host:port".
        connect_s: How long to wait for it.

    Raises:
        OSError: Nobody answers there.
    """

    def __init__(self, target: str, connect_s: float) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), connect_s)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authority = target
        self._next, self._read, self._heard = 1, bytearray(), 0
        self._window, self._first_window = _FIRST_WINDOW, _FIRST_WINDOW
        self._windows: dict[int, int] = {}  # what each open call may still send
        self._unsent: deque[tuple[int, bytes, int]] = deque()
        self._received: dict[int, bytearray] = {}
        settings = struct.pack(">HIHI", _TABLE_SIZE, 0, _INITIAL_WINDOW, _LARGEST_WINDOW)
        self._socket.sendall(_PREFACE + _frame(_Kind.SETTINGS, 0, 0, settings))
        self._socket.sendall(_more_window(_LARGEST_WINDOW - _FIRST_WINDOW))

    def fileno(self) -> int:
        """For `select`: there is something to `receive`."""
        return self._socket.fileno()

    def headers(self, method: str, timeout_s: float | None = None) -> bytes:
        """What `call` sends first: "/package.Service/Method", and a deadline from then on."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": method, ":authority": self._authority,
            "te": "trailers", "content-type": "application/grpc",
        }  # fmt: skip
        if timeout_s is not None:
            fields["grpc-timeout"] = f"{int(timeout_s * 1e6)}u"
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())

    def call(self, headers: bytes, message: bytes, *, last: bool = True) -> int:
        """Begins a call and returns its number.

        Args:
            headers: From `headers`.
            message: The request, or the first one.
            last: Whether no more follow.
        """
        number, self._next = self._next, self._next + 2
        self._windows[number] = self._first_window
        self._received[number] = bytearray()
        self._send(number, message, last, _frame(_Kind.HEADERS, _WHOLE_HEADERS, number, headers))
        return number

    def more(self, call: int, message: bytes) -> None:
        """Sends a further request of a call that is not over."""
        self._send(call, message, False, b"")

    def cancel(self, call: int) -> None:
        """Gives a call up; nothing more is received of it."""
        self._forget(call)
        self._socket.sendall(_frame(_Kind.RST_STREAM, 0, call, struct.pack(">I", _CANCEL)))

    def receive(self) -> Iterator[tuple[int, bytes | int]]:
        """Reads once, and yields what has come whole: calls with a reply, or their gRPC status.

        Raises:
            ConnectionError: The server has closed the connection.
            BenchError: It speaks in a way that this client does not know.
        """
        read = self._socket.recv(_READ_BYTES)
        if not read:
            raise ConnectionResetError("the server closed the connection")
        self._read += read
        at = 0
        while len(self._read) >= at + 9:
            size, kind, flags, call = _frame_head(self._read, at)
            if len(self._read) < at + 9 + size:
                break
            yield from self._frame(kind, flags, call, bytes(self._read[at + 9 : at + 9 + size]))
            at += 9 + size
        del self._read[:at]

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _send(self, call: int, message: bytes, last: bool, before: bytes) -> None:
        body = b"\0" + struct.pack(">I", len(message)) + message
        room = min(self._window, self._windows[call], _LARGEST_FRAME)
        if len(body) <= room and not self._unsent:
            self._charge(call, len(body))
            self._socket.sendall(before + _frame(_Kind.DATA, last * _END, call, body))
            return
        if before:
            self._socket.sendall(before)
        for start in range(0, len(body), _LARGEST_FRAME):
            part = body[start : start + _LARGEST_FRAME]
            ends = last and start + len(part) == len(body)
            self._unsent.append((call, part, ends * _END))
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Sends frames in order, as far as the server has room for whole ones."""
        while self._unsent:
            call, part, flags = self._unsent[0]
            if call in self._windows:
                if len(part) > min(self._window, self._windows[call]):
                    return
                self._charge(call, len(part))
                self._socket.sendall(_frame(_Kind.DATA, flags, call, part))
            self._unsent.popleft()

    def _charge(self, call: int, size: int) -> None:
        self._window -= size
        self._windows[call] -= size

    def _forget(self, call: int) -> None:
        self._windows.pop(call, None)
        self._received.pop(call, None)

    def _frame(
        self, kind: int, flags: int, call: int, body: bytes
    ) -> Iterator[tuple[int, bytes | int]]:
        match kind:
            case _Kind.DATA:
                yield from self._messages(call, body)
            case _Kind.HEADERS if flags & _END and call in self._received:
                _check_whole(flags)
                self._forget(call)
                yield call, _status(body)
            case _Kind.RST_STREAM if call in self._received:
                self._forget(call)
                yield call, UNKNOWN
            case _Kind.SETTINGS if not flags & _ACK:
                self._settle(body)
            case _Kind.PING if not flags & _ACK:
                self._socket.sendall(_frame(_Kind.PING, _ACK, 0, body))
            case _Kind.GOAWAY:
                raise ConnectionResetError("the server is going away")
            case _Kind.WINDOW_UPDATE:
                self._widen(call, int.from_bytes(body, "big"))

    def _messages(self, call: int, body: bytes) -> Iterator[tuple[int, bytes | int]]:
        self._heard += len(body)
        if self._heard > _LARGEST_WINDOW // 2:
            self._socket.sendall(_more_window(self._heard))
            self._heard = 0
        received = self._received.get(call)
        if received is None:
            return
        received += body
        while len(received) >= 5:
            size = int.from_bytes(received[1:5], "big")
            if len(received) < 5 + size:
                return
            yield call, bytes(received[5 : 5 + size])
            del received[: 5 + size]

    def _settle(self, body: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", body):
            if name == _INITIAL_WINDOW:
                wider = value - self._first_window
                self._first_window = value
                for call in self._windows:
                    self._windows[call] += wider
        self._socket.sendall(_frame(_Kind.SETTINGS, _ACK, 0, b""))
        self._send_waiting()

    def _widen(self, call: int, size: int) -> None:
        if call == 0:
            self._window += size
        elif call in self._windows:
            self._windows[call] += size
        self._send_waiting()


def _frame(kind: int, flags: int, call: int, body: bytes) -> bytes:
    return struct.pack(">IBBI", len(body), kind, flags, call)[1:] + body


def _frame_head(read: bytearray, at: int) -> tuple[int, int, int, int]:
    """Size of the body, kind, flags and call of the frame there."""
    high, low, kind, flags, call = struct.unpack_from(">BHBBI", read, at)
    return high << 16 | low, kind, flags, call


def _more_window(size: int) -> bytes:
    return _frame(_Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", size))


def _text(value: str) -> bytes:
    raw = value.encode()
    assert len(raw) < 127, "longer texts need another form of length"
    return bytes([len(raw)]) + raw


def _check_whole(flags: int) -> None:
    if flags & ~(_END | _WHOLE_HEADERS) or not flags & _WHOLE_HEADERS:
        raise BenchError("the server sends headers in parts, which load clients do not read")


@lru_cache(maxsize=64)
def _status(block: bytes) -> int:
    """The gRPC status in the headers that end a call; UNKNOWN if none is there."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # a field of the static table: none of these is a status
            _, at = _number(block, at, 0x7F)
        elif first & 0xE0 == 0x20:  # the size of the table, which we have asked to be 0
            _, at = _number(block, at, 0x1F)
        else:
            known, at = _number(block, at, 0x3F if first & 0x40 else 0x0F)
            name, at = (b"", at) if known else _string(block, at)
            value, at = _string(block, at)
            if name == b"grpc-status":
                return int(value)
    return UNKNOWN


def _number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer whose first byte shares its place with flags (RFC 7541, 5.1), and what follows."""
    value, at, shift = block[at] & mask, at + 1, 0
    if value < mask:
        return value, at
    while True:
        byte, at = block[at], at + 1
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    compressed = bool(block[at] & 0x80)
    size, at = _number(block, at, 0x7F)
    if compressed and size <= len(b"grpc-status"):
        raise BenchError("the server compresses its headers, which load clients do not read")
    return block[at : at + size], at + size
