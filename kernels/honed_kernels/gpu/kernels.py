"""Which kernels there are, how often each was launched, and a hash of their sources."""

from __future__ import annotations

import hashlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

# What only builds or measures the kernels changes none.
_TOOLS = ("aot", "gpu")


def find() -> dict[str, Any]:
    """All kernels by name, as Triton's objects."""
    from honed_kernels import triton_kernels

    found = {}
    for module in pkgutil.iter_modules(triton_kernels.__path__, f"{triton_kernels.__name__}."):
        for name, value in vars(import_module(module.name)).items():
            if name.endswith("_kernel"):
                found[f"{value.fn.__module__.rpartition('.')[2]}.{name}"] = value
    return found


class Launches:
    """How often each kernel was launched while `counting`; a graph's replays are not seen."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._kernels = find()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is launched inside."""
        hooks = {name: partial(self._count, name) for name in self._kernels}
        for name, kernel in self._kernels.items():
            kernel.add_pre_run_hook(hooks[name])
        try:
            yield
        finally:
            for name, kernel in self._kernels.items():
                kernel.pre_run_hooks.remove(hooks[name])

    def _count(self, name: str, *_: object, **__: object) -> None:
        self._counts[name] += 1

    def total(self) -> int:
        """Of all kernels together."""
        return self._counts.total()

    def by_name(self) -> dict[str, int]:
        """Of each kernel, also of those that did not run."""
        return {name: self._counts[name] for name in sorted(self._kernels)}


def sources_hash(root: Path | None = None) -> str:
    """SHA-256 of all that decides what the kernels compute and how they are launched.

    Args:
        root: the package's folder.
    """
    root = root or Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _TOOLS:
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
