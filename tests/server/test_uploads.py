"""Receiving a folder: what is announced, what comes, and that nothing is left of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import ServingError
from honed_server.models.uploads import MAX_CHUNK_BYTES, Uploads, sweep

CONTENTS = {
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 8000,
}
MAX_BYTES = 3_000_000


def entry(path: str, data: bytes = b"{}", **fields: Any) -> pb.FileEntry:
    sha256 = hashlib.sha256(data).hexdigest()
    return pb.FileEntry(**{"path": path, "size": len(data), "sha256": sha256, **fields})


def chunk(path: str, data: bytes) -> pb.ImportModelRequest:
    return pb.ImportModelRequest(chunk=pb.FileChunk(path=path, data=data))


FILES = [entry(path, data) for path, data in CONTENTS.items()]
CHUNKS = [
    chunk(path, data[start : start + MAX_CHUNK_BYTES])
    for path, data in CONTENTS.items()
    for start in range(0, len(data), MAX_CHUNK_BYTES)
]
START = pb.ImportModelRequest(start=pb.ImportModelStart(name="m"))


async def stream(
    *parts: pb.ImportModelRequest, silence: asyncio.Event | None = None
) -> AsyncIterator[Any]:
    """The parts, and then the end, or for ever nothing."""
    for part in parts:
        yield part
    if silence is not None:
        silence.set()
        await asyncio.Event().wait()


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    with ThreadPoolExecutor(1) as thread:
        yield Uploads(tmp_path, thread, max_bytes=MAX_BYTES, idle_s=0.2)


async def received(uploads: Uploads, files=FILES, parts=CHUNKS, **options: Any) -> dict[str, bytes]:
    """What lies in the folder, by path."""
    async with uploads.receive(files, stream(*parts, **options)) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(work: Callable[[], Coroutine[Any, Any, Any]]) -> ServingError:
    with pytest.raises(ServingError) as caught:
        asyncio.run(work())
    return caught.value


def test_what_is_sent_arrives_and_goes_again(uploads, tmp_path):
    assert asyncio.run(received(uploads)) == CONTENTS
    assert list(tmp_path.iterdir()) == []
    assert asyncio.run(received(uploads)) == CONTENTS


ANNOUNCED = {
    "nothing": ([], "BAD_COUNT", "files"),
    "too-many": ([entry("config.json")] * 65, "BAD_COUNT", "files"),
    **{
        f"path-{n}": ([entry("config.json"), entry(path)], "BAD_PATH", "files[1].path")
        for n, path in enumerate(
            ["", "../config.json", "/etc/config.json", "a/../config.json", "./config.json",
             "1_Pooling/../config.json", "config.json\n", "CONFIG.JSON", "modeling.py",
             "pytorch_model.bin", "1_Pooling", "1_Pooling/model.safetensors", "config.json/x"]
        )
    },
    "twice": ([entry("config.json"), entry("config.json")], "DUPLICATE_FILE", "files[1].path"),
    "empty": ([entry("config.json", size=0)], "BAD_SIZE", "files[0].size"),
    "huge-json": ([entry("tokenizer.json", size=2**27)], "BAD_SIZE", "files[0].size"),
    "too-large": (
        [entry("config.json"), entry("model.safetensors", size=MAX_BYTES)],
        "CHECKPOINT_TOO_LARGE", "files"),
    "no-hash": ([entry("config.json", sha256="")], "BAD_SHA256", "files[0].sha256"),
    "bad-hash": ([entry("config.json", sha256="G" * 64)], "BAD_SHA256", "files[0].sha256"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "reason", "field"), ANNOUNCED.values(), ids=ANNOUNCED)
def test_a_bad_announcement_is_refused_before_a_byte_is_read(uploads, files, reason, field):
    async def announce() -> None:
        parts = stream(*CHUNKS)
        try:
            async with uploads.receive(files, parts):
                pass
        finally:
            assert await anext(parts) is CHUNKS[0]

    error = refused(announce)
    assert (error.code.name, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)


FIRST, *REST = CHUNKS
SENT = {
    "nothing": ([], "UPLOAD_INCOMPLETE", "chunk"),
    "too-little": (CHUNKS[:-1], "UPLOAD_INCOMPLETE", "chunk"),
    "too-much": ([*CHUNKS, CHUNKS[-1]], "BAD_CHUNK", "chunk"),
    "started-again": ([FIRST, START], "BAD_CHUNK", "chunk"),
    "no-part": ([pb.ImportModelRequest()], "BAD_CHUNK", "chunk"),
    "other-order": ([*REST, FIRST], "BAD_CHUNK", "chunk.path"),
    "not-announced": ([FIRST, chunk("modules.json", b"[]")], "BAD_CHUNK", "chunk.path"),
    "empty-chunk": ([chunk("config.json", b"")], "BAD_CHUNK", "chunk.data"),
    "long-file": ([chunk("config.json", b"x" * 99)], "BAD_CHUNK", "chunk.data"),
    "long-chunk": (
        [*CHUNKS[:2], chunk("model.safetensors", b"x" * (MAX_CHUNK_BYTES + 1))],
        "BAD_CHUNK", "chunk.data"),
    "other-bytes": (
        [chunk("config.json", b"x" * FILES[0].size), *REST],
        "CHECKSUM_MISMATCH", "files[0].sha256"),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "reason", "field"), SENT.values(), ids=SENT)
def test_what_was_not_announced_is_refused_and_removed(uploads, tmp_path, parts, reason, field):
    error = refused(lambda: received(uploads, parts=parts))
    assert (error.code.name, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)
    assert list(tmp_path.iterdir()) == []
    assert asyncio.run(received(uploads)) == CONTENTS


@pytest.mark.parametrize("parts", [[], CHUNKS[:3], CHUNKS], ids=["start", "middle", "end"])
def test_a_silent_stream_is_not_waited_for(uploads, tmp_path, parts):
    error = refused(lambda: received(uploads, parts=parts, silence=asyncio.Event()))
    assert (error.code.name, error.reason) == ("DEADLINE_EXCEEDED", "UPLOAD_IDLE")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("parts", [[], [CHUNKS[0]], [pb.ImportModelRequest()]])
def test_a_stream_begins_with_start(uploads, parts):
    error = refused(lambda: uploads.start(stream(*parts)))
    assert (error.reason, error.field) == ("MISSING_FIELD", "start")
    assert asyncio.run(uploads.start(stream(START))).name == "m"


def test_one_folder_at_a_time(uploads):
    async def two() -> None:
        async with uploads.receive(FILES, stream(*CHUNKS)):
            await received(uploads)

    error = refused(two)
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "IMPORT_BUSY")
    assert error.retry_after_s
    assert asyncio.run(received(uploads)) == CONTENTS


def test_a_caller_who_leaves_leaves_nothing(uploads, tmp_path):
    async def leave() -> None:
        silence = asyncio.Event()
        task = asyncio.create_task(received(uploads, parts=CHUNKS[:3], silence=silence))
        await silence.wait()
        assert list(tmp_path.glob("*/model.safetensors"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(tmp_path.iterdir()) == []
        assert await received(uploads) == CONTENTS

    asyncio.run(leave())


def test_a_failure_with_the_folder_leaves_nothing(uploads, tmp_path):
    async def fail() -> None:
        async with uploads.receive(FILES, stream(*CHUNKS)):
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(fail())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_room_is_refused(tmp_path):
    with ThreadPoolExecutor(1) as thread:
        uploads = Uploads(tmp_path, thread, max_bytes=2**60)
        files = [entry("model.safetensors", size=2**59)]
        error = refused(lambda: received(uploads, files=files))
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_had_received_is_swept(tmp_path):
    (tmp_path / ".import-1" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "registry.sqlite").touch()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["registry.sqlite"]
