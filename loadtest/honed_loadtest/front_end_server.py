"""`honed serve` with an encoder that only waits: what it still costs is the front end.

    python -m honed_loadtest.front_end_server --home HOME [SETTINGS as for honed serve]

A run waits a millisecond, as for a fast accelerator, so that batches form as they do in front of
one. Like `encoder_alone.py` it is a process of its own, because it imports the server's parts.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from honed_kernels.head import HeadOutput, HeadWeights
    from honed_server.app import Server

_RUN_S = 0.001


class WaitingEncoder:
    """Answers every text alike."""

    precision: Literal["fp32", "int8"] = "fp32"

    def __init__(self, digest: str, hidden: int) -> None:
        self.digest = digest
        self.hidden = hidden

    def encode(
        self, rows: "list[NDArray[np.int64]]", *, lone: bool = False
    ) -> "NDArray[np.float32]":
        """Zeros of shape (rows, hidden)."""
        import numpy as np  # not before `run` has set what NumPy reads at import

        time.sleep(_RUN_S)
        return np.zeros((len(rows), self.hidden), np.float32)

    def answer(
        self,
        rows: "list[NDArray[np.int64]]",
        heads: "Sequence[HeadWeights]",
        head_id: "NDArray[np.int64]",
        *,
        top_k: Sequence[int],
        logits: bool = False,
        lone: bool = False,
    ) -> "tuple[HeadOutput, NDArray[np.float32]]":
        """What the heads make of zeros, and the zeros."""
        from honed_kernels.head import grouped_head

        vectors = self.encode(rows, lone=lone)
        return grouped_head(vectors, head_id, heads, top_k=top_k, logits=logits), vectors

    def widen(self, threads: int) -> None:
        """Nothing: it waits on any number of cores."""


def _without_encoder(server: "Server") -> None:
    """Gives every model an encoder that waits; all else stays as it was."""
    table = server.catalogue.table
    for generation in table.current.values():
        encoder = generation.loaded.encoder
        waiting = WaitingEncoder(encoder.digest, encoder.hidden)
        table.put(replace(generation, loaded=replace(generation.loaded, encoder=waiting)))


def main() -> int:
    """Runs the server until SIGTERM."""
    from honed_server.main import run

    return run(sys.argv[1:], _without_encoder)


if __name__ == "__main__":
    sys.exit(main())
