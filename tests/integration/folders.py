"""Sends folders to Models.Import as the SDK would not."""

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from honed._status import error_from_call
from honed_proto.v1 import models_pb2 as pb

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60
_IMPORT = "/honed.v1.Models/Import"
# What the server takes; save_pretrained writes more.
_SENT = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
}

Part = pb.ImportModelRequest


def parts(folder: Path, name: str, **fields: Any) -> list[Part]:
    """The messages of an import: the start, then the chunks of each file."""
    files = [path for path in sorted(folder.iterdir()) if path.name in _SENT]
    start = pb.ImportModelStart(name=name, files=[_entry(path) for path in files], **fields)
    chunks = [Part(chunk=chunk) for path in files for chunk in _chunks(path)]
    return [Part(start=start), *chunks]


def send(target: str, messages: Iterable[Part]) -> pb.Model:
    """The model that the server makes of them; raises HonedError as the SDK would."""
    with grpc.insecure_channel(target) as channel:
        payloads = (message.SerializeToString() for message in messages)
        return _model(channel.stream_unary(_IMPORT).future(payloads, timeout=_TIMEOUT_S), target)


@dataclass(frozen=True)
class Unfinished:
    """A call on which nothing more comes."""

    target: str
    call: Any

    def result(self) -> pb.Model:
        return _model(self.call, self.target)


@contextmanager
def unfinished(target: str, messages: Iterable[Part]) -> Iterator[Unfinished]:
    """An import that sends these messages and then neither more nor an end."""
    done = threading.Event()

    def payloads() -> Iterator[bytes]:
        yield from (message.SerializeToString() for message in messages)
        done.wait()

    with grpc.insecure_channel(target) as channel:
        call = channel.stream_unary(_IMPORT).future(payloads(), timeout=_TIMEOUT_S)
        try:
            yield Unfinished(target, call)
        finally:
            call.cancel()
            done.set()


def _model(call: Any, target: str) -> pb.Model:
    try:
        return pb.Model.FromString(call.result())
    except grpc.RpcError as error:
        raise error_from_call(error, target, _TIMEOUT_S) from error


def left_behind(home: Path) -> list[str]:
    """What imports left in the data folder beside whole encoders."""
    places = (home, home / "encoders")
    return [str(left.relative_to(home)) for at in places for left in at.glob(".import-*")]


def _entry(path: Path) -> pb.FileEntry:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return pb.FileEntry(path=path.name, size=path.stat().st_size, sha256=sha256)


def _chunks(path: Path) -> Iterator[pb.FileChunk]:
    data = path.read_bytes()
    for start in range(0, len(data), _CHUNK_BYTES):
        yield pb.FileChunk(path=path.name, data=data[start : start + _CHUNK_BYTES])
