"""A real small disk: a tmpfs that a test fills up to the last page and frees again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_CHUNK, _PAGE = 64 * 1024, 4096


class SmallDisk:
    """A mounted folder with a ballast file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes; others may write meanwhile."""
        self.free()
        with self._ballast.open("wb", buffering=0) as file:
            for size in (_CHUNK, _PAGE):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
            file.truncate(max(file.tell() - leave, 0))

    def free(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mounts a tmpfs of that size, such as "24m"; without the right to, skips (in CI: fails)."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        message = "a full disk needs a real small tmpfs, and mounting one is not permitted here"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
