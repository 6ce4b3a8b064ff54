"""Receives the folder of an Import call, and keeps it only while a model is made of it.

First stop of a user's own model: `service.py` reads the call's stream through it, and
`creation.py` makes a model of the folder. Nothing in the stream is trusted: names and sizes are
checked before the first byte, checksums after the last.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from honed_proto.v1 import models_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import DeadlinePassed, InvalidRequest, Overloaded

T = TypeVar("T")
Parts = AsyncIterator[pb.ImportModelRequest]

MAX_CHUNK_BYTES = 1 << 20
_MAX_FILES = 64
# JSON is read into memory at once; the tokenizers with the most words need 35 MB.
_MAX_JSON_BYTES = 64 << 20
_IDLE_S = 30.0
_RETRY_S = 5.0
_ASIDE = ".import-"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(
    r"((tokenizer_|sentence_bert_|1_Pooling/)?config|tokenizer|special_tokens_map|modules)\.json"
    r"|model\.safetensors"
)


class Uploads:
    """Receives one folder at a time. Event loop only; disks are used in a thread.

    Args:
        home: Data folder; what is received lies there in a folder of its own.
        executor: One thread, so that nothing is written after its folder was removed.
        max_bytes: Most bytes of a folder.
        idle_s: Longest wait for the next message.
    """

    def __init__(
        self, home: Path, executor: Executor, *, max_bytes: int, idle_s: float = _IDLE_S
    ) -> None:
        self._home = home
        self._executor = executor
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._busy = False

    async def start(self, parts: Parts) -> pb.ImportModelStart:
        """The first message of the stream.

        Raises:
            InvalidRequest: It is none that starts a folder.
            DeadlinePassed: It did not come.
        """
        part = await self._next(parts)
        if part is None or not part.HasField("start"):
            raise InvalidRequest(
                "the first message must hold `start`", reason="MISSING_FIELD", field="start"
            )
        return part.start

    @asynccontextmanager
    async def receive(self, files: Sequence[pb.FileEntry], parts: Parts) -> AsyncIterator[Path]:
        """Receives the announced files; their folder is removed when the block ends, however.

        Raises:
            InvalidRequest: A file must not be sent, or what came is not what was announced.
            Overloaded: Another folder is being received, or there is no room for this one.
            DeadlinePassed: The stream fell silent.
        """
        self._check(files)
        if self._busy:
            raise Overloaded(
                "another model is being imported; try again when that is done",
                reason="IMPORT_BUSY",
                retry_after_s=_RETRY_S,
            )
        self._busy = True
        folder = self._home / f"{_ASIDE}{uuid.uuid4().hex}"
        try:
            await self._run(_prepare, folder, files)
            for n, entry in enumerate(files):
                await self._file(folder, entry, f"files[{n}]", parts)
            if await self._next(parts) is not None:
                raise _bad_chunk("chunk", "more came than was announced")
            yield folder
        finally:
            try:
                await self._run(shutil.rmtree, folder, True)
            finally:
                self._busy = False

    def _check(self, files: Sequence[pb.FileEntry]) -> None:
        validate.count(len(files), "files", _MAX_FILES)
        known: set[str] = set()
        for n, entry in enumerate(files):
            _check_entry(entry, f"files[{n}]", known)
            known.add(entry.path)
        total = sum(entry.size for entry in files)
        if total > self._max_bytes:
            raise InvalidRequest(
                f"the files have {total} bytes, this server takes {self._max_bytes}; "
                "raise its setting max_checkpoint_bytes",
                reason="CHECKPOINT_TOO_LARGE",
                field="files",
                metadata={"bytes": str(total), "max_bytes": str(self._max_bytes)},
            )

    async def _file(self, folder: Path, entry: pb.FileEntry, at: str, parts: Parts) -> None:
        """Receives one file, from its first chunk to its last."""
        digest, left = hashlib.sha256(), entry.size
        while left:
            chunk = await self._chunk(parts)
            if chunk.path != entry.path:
                shown = validate.shown(chunk.path)
                raise _bad_chunk("chunk.path", f"a chunk of {entry.path} was expected, not {shown}")
            if not 0 < len(chunk.data) <= min(left, MAX_CHUNK_BYTES):
                raise _bad_chunk(
                    "chunk.data",
                    f"a chunk of {entry.path} has {len(chunk.data)} bytes; 1 to "
                    f"{min(left, MAX_CHUNK_BYTES)} were expected",
                )
            left -= len(chunk.data)
            await self._run(_append, folder / entry.path, digest, chunk.data)
        if digest.hexdigest() != entry.sha256:
            raise InvalidRequest(
                f"{entry.path} did not arrive as it was announced; send it again",
                reason="CHECKSUM_MISMATCH",
                field=f"{at}.sha256",
            )

    async def _chunk(self, parts: Parts) -> pb.FileChunk:
        part = await self._next(parts)
        if part is None:
            raise InvalidRequest(
                "the stream ended before all files were complete; send the folder again",
                reason="UPLOAD_INCOMPLETE",
                field="chunk",
            )
        if not part.HasField("chunk"):
            raise _bad_chunk("chunk", "all messages after the first must hold `chunk`")
        return part.chunk

    async def _next(self, parts: Parts) -> pb.ImportModelRequest | None:
        """The next message, None at the end of the stream."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(parts, None)
        except TimeoutError as error:
            raise DeadlinePassed(
                f"nothing came for {self._idle_s:g} s; send the folder again", reason="UPLOAD_IDLE"
            ) from error

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        """Runs work in the thread; a call that is cancelled meanwhile leaves it to finish."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._executor, work, *args))


def sweep(home: Path) -> None:
    """Removes what a killed server had received; call it while nobody imports."""
    for left in home.glob(f"{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _check_entry(entry: pb.FileEntry, at: str, known: set[str]) -> None:
    if fault := _fault(entry, known):
        field, reason, message = fault
        raise InvalidRequest(
            f"{validate.shown(entry.path)} {message}", reason=reason, field=f"{at}.{field}"
        )


def _fault(entry: pb.FileEntry, known: set[str]) -> tuple[str, str, str] | None:
    """What is wrong with an announced file: the field, the reason, the sentence."""
    limit = _MAX_JSON_BYTES if entry.path.endswith(".json") else entry.size
    if not _PATH.fullmatch(entry.path):
        needed = "config.json, tokenizer.json, model.safetensors and what models.proto names"
        return "path", "BAD_PATH", f"is no file of a checkpoint; send {needed} beside them"
    if entry.path in known:
        return "path", "DUPLICATE_FILE", "is announced twice; announce it once"
    if not 0 < entry.size <= limit:
        return "size", "BAD_SIZE", f"has {entry.size} bytes; 1 to {limit} are allowed"
    if not _SHA256.fullmatch(entry.sha256):
        return "sha256", "BAD_SHA256", "needs its SHA-256 in 64 hexadecimal digits, lower case"
    return None


def _bad_chunk(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"{message}; chunks come in the order of the announced files, each file from its start",
        reason="BAD_CHUNK",
        field=field,
    )


def _prepare(folder: Path, files: Sequence[pb.FileEntry]) -> None:
    """Makes the folders, if there is room for the files and for the encoder made of them."""
    needed = 2 * sum(entry.size for entry in files)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise Overloaded(
            f"the import needs {needed} bytes of disk, {free} are free; free space on the server",
            reason="DISK_FULL",
            retry_after_s=_RETRY_S,
        )
    folder.mkdir(mode=0o700)
    for entry in files:
        (folder / entry.path).parent.mkdir(exist_ok=True)


def _append(path: Path, digest: hashlib._Hash, data: bytes) -> None:
    digest.update(data)
    with path.open("ab") as file:
        file.write(data)
