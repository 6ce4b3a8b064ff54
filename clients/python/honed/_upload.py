"""A Hugging Face folder on its way to the server: `import_model` of both clients."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from honed._connection import AsyncConnection, Connection
from honed._convert import model_from
from honed._rpcs import IMPORT
from honed.types import Model
from honed_proto.v1 import models_pb2

Progress = Callable[[int, int], None]

_CHUNK_BYTES = 1024 * 1024
_NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
_WELCOME = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)


class Upload:
    """The messages of one import; iterate it once.

    What goes wrong while a file is read ends the messages early, so that the server refuses them,
    and waits in `error`: gRPC would only log it.

    Args:
        start: What to make of the folder; its files are filled in here.
        folder: Where they are.
        progress: Is told bytes sent and in total; may be called on another thread.

    Raises:
        OSError: A needed file is missing or cannot be read.
    """

    def __init__(
        self, start: models_pb2.ImportModelStart, folder: Path, progress: Progress | None
    ) -> None:
        self.error: Exception | None = None
        self._start = start
        self._folder = folder
        self._progress = progress
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {', '.join(missing)}; write model and tokenizer there with "
                "save_pretrained()"
            )
        present = [*_NEEDED, *(name for name in _WELCOME if (folder / name).is_file())]
        start.files.extend(map(self._entry, present))

    def _entry(self, name: str) -> models_pb2.FileEntry:
        path = self._folder / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return models_pb2.FileEntry(path=name, size=path.stat().st_size, sha256=digest)

    def __iter__(self) -> Iterator[models_pb2.ImportModelRequest]:
        yield models_pb2.ImportModelRequest(start=self._start)
        try:
            yield from self._chunks()
        except Exception as error:  # noqa: BLE001 - raised by whoever sends
            self.error = error

    def _chunks(self) -> Iterator[models_pb2.ImportModelRequest]:
        sent, total = 0, sum(entry.size for entry in self._start.files)
        for entry in self._start.files:
            with (self._folder / entry.path).open("rb") as file:
                while data := file.read(_CHUNK_BYTES):
                    chunk = models_pb2.FileChunk(path=entry.path, data=data)
                    yield models_pb2.ImportModelRequest(chunk=chunk)
                    sent += len(data)
                    if self._progress is not None:
                        self._progress(sent, total)


def import_folder(connection: Connection, prepare: Callable[[], Upload], timeout_s: float) -> Model:
    """Sends a folder and waits for the model."""
    upload = prepare()
    try:
        return model_from(connection.call(IMPORT, iter(upload), timeout_s))
    finally:
        if upload.error is not None:
            raise upload.error


async def import_folder_async(
    connection: AsyncConnection, prepare: Callable[[], Upload], timeout_s: float
) -> Model:
    """Does so on another thread.

    With a channel of its own: grpc.aio may lose the reason why a server refuses a stream early
    (grpc/grpc#36066).
    """
    blocking = Connection(connection.target, connection.timeout_s)
    try:
        return await asyncio.to_thread(import_folder, blocking, prepare, timeout_s)
    finally:
        blocking.close()
