"""Models on their way in and out: what is sent, what is checked, and what is left on disk."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import honed
from clients.scripted import Fault, ScriptedServer, status
from honed import AsyncClient, Client
from honed_proto.v1 import models_pb2 as pb

MODEL = pb.Model(name="own", version=1, own_head_version=1, labels=["a", "b"])
WEIGHTS = os.urandom(2 * 1024 * 1024 + 7)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "1_Pooling/config.json": b"[]"}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    for name, data in {**FILES, "tokenizer.json": b"{ }", "optimizer.pt": b"secret"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def entry(path: str, data: bytes, sha256: str = "") -> pb.FileEntry:
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return pb.FileEntry(path=path, size=len(data), sha256=digest)


def start(*entries: pb.FileEntry) -> pb.ExportModelResponse:
    started = pb.ExportModelStart(model="support", version=3, revision=40, files=entries)
    return pb.ExportModelResponse(start=started)


def chunk(path: str, data: bytes) -> pb.ExportModelResponse:
    return pb.ExportModelResponse(chunk=pb.FileChunk(path=path, data=data))


def whole() -> list[pb.ExportModelResponse]:
    """An export as a server sends it: a file of several chunks, small ones, and an empty one."""
    files = {**FILES, "empty.txt": b""}
    chunks = [
        chunk(path, data[at : at + 1024 * 1024])
        for path, data in files.items()
        for at in range(0, len(data), 1024 * 1024)
    ]
    return [start(*(entry(path, data) for path, data in files.items())), *chunks]


def test_a_folder_is_sent_with_its_digests(
    server: ScriptedServer, client: Client, checkpoint: Path
) -> None:
    server.on("Models.Import", MODEL)
    done: list[tuple[int, int]] = []
    model = client.import_model(
        "own", checkpoint, closed_labels=True, progress=lambda *step: done.append(step)
    )
    assert (model.name, model.own_head_version, model.learned_weight) == ("own", 1, 0.0)
    (first, *others) = server.requests("Models.Import")[0]
    assert (first.start.name, first.start.closed_labels) == ("own", True)
    sent: dict[str, bytes] = {}
    for each in others:
        assert len(each.chunk.data) <= 1024 * 1024
        sent[each.chunk.path] = sent.get(each.chunk.path, b"") + each.chunk.data
    assert sent == {**FILES, "tokenizer.json": b"{ }"}
    assert list(first.start.files) == [entry(path, data) for path, data in sent.items()]
    total = sum(map(len, sent.values()))
    assert done[-1] == (total, total)


def test_an_encoder_alone_comes_with_its_labels(
    server: ScriptedServer, client: Client, checkpoint: Path
) -> None:
    server.on("Models.Import", MODEL)
    client.import_model("own", str(checkpoint), without_head=True, labels=["x", "y"])
    (first, *_) = server.requests("Models.Import")[0]
    assert (first.start.without_head, list(first.start.labels)) == (True, ["x", "y"])


def test_a_folder_without_what_is_needed_is_refused_here(client: Client, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    missing = r"lacks tokenizer\.json, model\.safetensors; .*save_pretrained"
    with pytest.raises(FileNotFoundError, match=missing):
        client.import_model("own", tmp_path)


def test_an_early_refusal_of_the_server_is_what_is_raised(
    server: ScriptedServer, client: Client, checkpoint: Path
) -> None:
    (checkpoint / "model.safetensors").write_bytes(bytes(16 * 1024 * 1024))
    refusal = status("INVALID_ARGUMENT", "the head was never trained", "HEAD_UNTRAINED")
    server.refuse_uploads = True
    server.on("Models.Import", Fault(refusal))
    with pytest.raises(honed.InvalidRequest) as caught:
        client.import_model("own", checkpoint)
    assert caught.value.reason == "HEAD_UNTRAINED"


def test_what_the_progress_raises_ends_the_import(
    server: ScriptedServer, client: Client, checkpoint: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise LookupError("enough")

    refusal = status("INVALID_ARGUMENT", "files are missing", "FILES_INCOMPLETE")
    server.on("Models.Import", Fault(refusal))
    with pytest.raises(LookupError, match="enough"):
        client.import_model("own", checkpoint, progress=stop)


def test_an_import_is_never_repeated(
    server: ScriptedServer, client: Client, checkpoint: Path
) -> None:
    server.on("Models.Import", Fault(status("UNAVAILABLE", "stopping", "SHUTTING_DOWN")), MODEL)
    with pytest.raises(honed.Unavailable):
        client.import_model("own", checkpoint)
    assert len(server.received) == 1


def test_an_export_appears_whole(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.on("Models.Export", whole())
    done: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "model"
    export = client.export_model(
        "support", folder, version=3, progress=lambda *step: done.append(step)
    )
    assert (export.model, export.version, export.revision) == ("support", 3, 40)
    assert {path: (folder / path).read_bytes() for path in export.files} == {
        **FILES,
        "empty.txt": b"",
    }
    assert os.listdir(folder.parent) == ["model"]
    assert done[-1] == (total := sum(map(len, FILES.values())), total)
    (request,) = server.requests("Models.Export")
    assert request == pb.ExportModelRequest(model="support", version=3)


def test_an_empty_folder_may_be_exported_to(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.on("Models.Export", whole())
    client.export_model("support", tmp_path)
    assert (tmp_path / "config.json").read_bytes() == b"{}"


def test_nothing_is_overwritten(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        client.export_model("support", tmp_path)
    assert server.received == []
    assert (tmp_path / "precious").read_text() == "keep"


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a/./b",
        "a//b",
        "",
        ".",
        "..",
        "a\\b",
        "C:evil",
        "a/",
    ],
)
def test_a_path_that_leads_outside_is_refused(
    server: ScriptedServer, client: Client, tmp_path: Path, path: str
) -> None:
    server.on("Models.Export", [start(entry(path, b"x")), chunk(path, b"x")])
    with pytest.raises(honed.ServerError, match="outside the folder"):
        client.export_model("support", tmp_path / "model")
    assert os.listdir(tmp_path) == []


CONFIG = entry("config.json", b"{}")
DAMAGED: dict[str, Sequence[pb.ExportModelResponse]] = {
    "another digest": [start(entry("config.json", b"{}", "00")), chunk("config.json", b"{}")],
    "too long": [start(CONFIG), chunk("config.json", b"{} ")],
    "another file": [start(CONFIG), chunk("tokenizer.json", b"{}")],
    "no beginning": [chunk("config.json", b"{}")],
    "an empty chunk": [start(CONFIG), chunk("config.json", b"")],
    "the same file twice": [
        start(CONFIG, CONFIG),
        chunk("config.json", b"{}"),
        chunk("config.json", b"{}"),
    ],
}


@pytest.mark.parametrize("answer", DAMAGED.values(), ids=DAMAGED)
def test_what_was_not_announced_is_refused_and_leaves_nothing(
    server: ScriptedServer,
    client: Client,
    tmp_path: Path,
    answer: Sequence[pb.ExportModelResponse],
) -> None:
    server.on("Models.Export", answer)
    with pytest.raises(honed.ServerError, match="damaged export"):
        client.export_model("support", tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_stream_that_ends_early_is_refused(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    def half(request: pb.ExportModelRequest) -> object:
        return iter(whole()[:2])

    server.on("Models.Export", half)
    with pytest.raises(honed.ServerError, match="ended early"):
        client.export_model("support", tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_nothing(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    gone = Fault(status("NOT_FOUND", "no such version", "VERSION_NOT_FOUND"))
    server.on("Models.Export", [*whole()[:2], gone])
    with pytest.raises(honed.NotFound):
        client.export_model("support", tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_what_the_progress_raises_ends_the_export(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise LookupError("enough")

    server.on("Models.Export", whole())
    with pytest.raises(LookupError, match="enough"):
        client.export_model("support", tmp_path / "model", progress=stop)
    assert os.listdir(tmp_path) == []


def test_an_export_that_is_cancelled_leaves_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("Models.Export", whole())
    asyncio.run(_cancelled_while_it_writes(server.target, tmp_path / "model"))
    assert os.listdir(tmp_path) == []


async def _cancelled_while_it_writes(target: str, folder: Path) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def slow(done: int, total: int) -> None:
        writing.set()
        assert go_on.wait(10)

    async with AsyncClient(target) as client:
        export = asyncio.create_task(client.export_model("support", folder, progress=slow))
        await asyncio.to_thread(writing.wait, 10)
        export.cancel()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await export
