"""A disk that forgets what was not synced: an SQLite VFS for simulated power cuts.

Reads and writes go through to the real files. Beside them it keeps, for each file, the bytes as of
the last sync and the writes since. A power cut writes out what a real disk might hold then: the
synced bytes, and any subset of the unsynced writes, torn into sectors.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

_SECTOR_BYTES = 512


@dataclass
class DiskFile:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None cuts it there

    def sync(self) -> None:
        for change in self.pending:
            self.apply(self.synced, *change)
        self.pending.clear()

    def after_power_cut(self, rng: random.Random) -> bytes:
        image = bytearray(self.synced)
        for offset, data in self.pending:
            if data is None:
                if rng.random() < 0.5:
                    self.apply(image, offset, None)
                continue
            for start in range(0, len(data), _SECTOR_BYTES):
                if rng.random() < 0.5:
                    self.apply(image, offset + start, data[start : start + _SECTOR_BYTES])
        return bytes(image)

    @staticmethod
    def apply(image: bytearray, offset: int, data: bytes | None) -> None:
        if data is None:
            del image[offset:]
            return
        image.extend(bytes(max(0, offset - len(image))))
        image[offset : offset + len(data)] = data


class ForgetfulDisk(apsw.VFS):
    """SQLite's default VFS while `forgetful_disk` is open; calls `on_io` before each change."""

    def __init__(self) -> None:
        super().__init__("forgetful", "unix", makedefault=True)
        self.files: dict[str, DiskFile] = {}
        self.on_io: Callable[[str], None] = lambda _operation: None

    def xOpen(self, name, flags):  # type: ignore[no-untyped-def]
        return _File(self, name, flags)

    def xDelete(self, filename, syncdir):  # type: ignore[no-untyped-def]
        super().xDelete(filename, syncdir)
        self.files.pop(Path(filename).name, None)

    def power_cut(self, folder: Path, rng: random.Random) -> None:
        """Writes what the disk might hold if the power failed now into `folder`."""
        folder.mkdir()
        for name, file in self.files.items():
            (folder / name).write_bytes(file.after_power_cut(rng))


class _File(apsw.VFSFile):
    def __init__(self, disk: ForgetfulDisk, name: apsw.URIFilename | str | None, flags: list[int]):
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._file = disk.files.setdefault(Path(path).name, DiskFile()) if path else DiskFile()

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.on_io("write")
        super().xWrite(data, offset)
        self._file.pending.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._disk.on_io("truncate")
        super().xTruncate(size)
        self._file.pending.append((size, None))

    def xSync(self, flags: int) -> None:
        self._disk.on_io("sync")
        super().xSync(flags)
        self._file.sync()


@contextmanager
def forgetful_disk() -> Iterator[ForgetfulDisk]:
    """Every SQLite file opened inside lies on a forgetful disk; close them before leaving."""
    disk = ForgetfulDisk()
    try:
        yield disk
    finally:
        disk.unregister()
