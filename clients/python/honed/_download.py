"""A model on its way from the server into a folder: `export_model` of both clients.

The server is not trusted: paths stay inside the folder, every file has the announced size and
digest, and the folder appears whole or not at all.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self
from uuid import uuid4

from honed._connection import AsyncConnection, Connection
from honed._rpcs import EXPORT
from honed._upload import Progress
from honed.errors import ServerError
from honed.types import Export
from honed_proto.v1 import models_pb2


class Download:
    """Writes the messages of one export beside the folder, and renames it at the end.

    Args:
        folder: Where it shall appear; must not exist, or be empty.
        progress: Is told bytes received and in total; None if nobody wants to know.

    Raises:
        FileExistsError: The folder holds something.
    """

    def __init__(self, folder: Path, progress: Progress | None) -> None:
        self._folder = folder.absolute()
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise FileExistsError(f"{folder} is there and not empty; export to a new folder")
        self._aside = self._folder.with_name(f".{self._folder.name}.{uuid4().hex}")
        self._aside.mkdir(parents=True)
        self._steps = _write_files(self._aside, progress or (lambda done, total: None))
        next(self._steps)

    def take(self, response: models_pb2.ExportModelResponse) -> Export | None:
        """Writes what came; returns the export when that was the last of it.

        Raises:
            ServerError: It is not what was announced.
            OSError: It cannot be written, or the folder holds something by now.
        """
        try:
            self._steps.send(response)
        except StopIteration as end:
            if self._folder.exists():
                self._folder.rmdir()
            self._aside.rename(self._folder)
            export: Export = end.value
            return export
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._steps.close()
        shutil.rmtree(self._aside, ignore_errors=True)


def _write_files(
    folder: Path, progress: Progress
) -> Generator[None, models_pb2.ExportModelResponse, Export]:
    """Is sent the messages one by one; returns when all files are there."""
    first = yield
    if not first.HasField("start"):
        raise _damaged("it does not begin with the files to come")
    start = first.start
    files = tuple(entry.path for entry in start.files)
    for path in files:
        if not _stays_inside(path) or files.count(path) > 1:
            raise _damaged(f"it names a file twice, or outside the folder: {path!r}")
    done, total = 0, sum(entry.size for entry in start.files)
    for entry in start.files:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        left, digest = entry.size, hashlib.sha256()
        with target.open("xb") as file:
            while left:
                chunk = (yield).chunk
                if chunk.path != entry.path or not 0 < len(chunk.data) <= left:
                    raise _damaged(f"{entry.path} is not what was announced")
                file.write(chunk.data)
                digest.update(chunk.data)
                left -= len(chunk.data)
                done += len(chunk.data)
                progress(done, total)
        if digest.hexdigest() != entry.sha256:
            raise _damaged(f"{entry.path} has not the SHA-256 that was announced")
    return Export(start.model, start.version, start.revision, files)


def _stays_inside(path: str) -> bool:
    """Whether a path names a file below the folder it is joined to, on any system."""
    parts = PurePosixPath(path).parts
    plain = bool(parts) and path == "/".join(parts) and ".." not in parts
    return plain and not set(path) & set("\\:\0")


def _damaged(what: str) -> ServerError:
    message = f"the server sent a damaged export: {what}; export again"
    return ServerError(message, "EXPORT_DAMAGED", "DATA_LOSS")


def export_folder(
    connection: Connection,
    request: models_pb2.ExportModelRequest,
    prepare: Callable[[], Download],
    timeout_s: float,
) -> Export:
    """Receives a folder."""
    with prepare() as download:
        for response in connection.responses(EXPORT, request, timeout_s):
            if (export := download.take(response)) is not None:
                return export
    raise _damaged("it ended early")


async def export_folder_async(
    connection: AsyncConnection,
    request: models_pb2.ExportModelRequest,
    prepare: Callable[[], Download],
    timeout_s: float,
) -> Export:
    """Receives a folder; files are written on another thread."""
    with prepare() as download:
        async for response in connection.responses(EXPORT, request, timeout_s):
            writing = asyncio.create_task(asyncio.to_thread(download.take, response))
            try:
                export = await asyncio.shield(writing)
            finally:
                await asyncio.wait([writing])  # a cancelled caller cleans up after the thread
            if export is not None:
                return export
    raise _damaged("it ended early")
