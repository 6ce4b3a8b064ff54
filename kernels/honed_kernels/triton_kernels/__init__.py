"""The Triton kernels, one module an op. Importing one loads Triton.

`compiled` grows by a name whenever Triton compiles a kernel in this process or loads one from its
cache: both stall a request, so neither may happen once a server is ready.
"""

from __future__ import annotations

from typing import Any

from triton import knobs

compiled: list[str] = []
_next = knobs.compilation.listener


def _listen(**event: Any) -> None:
    compiled.append(event["src"].name)
    if _next is not None:
        _next(**event)


knobs.compilation.listener = _listen
