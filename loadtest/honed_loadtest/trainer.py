"""A trainer that learns nothing: does the work of a LoRA round for as long as it is let.

It is attached to a server as a real one is (`honed_adapt.process.beside`) and takes no
more than the budget that it is told. A step is the matrix products of forward and backward over
MiniLM's layers, and of low-rank updates, for a batch of texts, on one thread.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from honed_adapt.process.beside import ServerGone, ServerLine, step_back
from honed_loadtest.server import ServerProcess

_LAYERS, _HIDDEN, _WIDE, _RANK = 6, 384, 1536, 8
_TOKENS = 18  # of a text, on average
_SLICE_TEXTS = 4  # whose gradients are added up between two pauses
_SHAPES = ((_HIDDEN, 3 * _HIDDEN), (_HIDDEN, _HIDDEN), (_HIDDEN, _WIDE), (_WIDE, _HIDDEN))

Matrix = NDArray[np.float32]


@contextmanager
def training(server: ServerProcess) -> Iterator[int]:
    """Trains beside a server while the block runs; gives the trainer's process id."""
    command = [sys.executable, "-m", __name__, str(server.home / "adapt" / "server.sock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None, "stdout is a pipe"
        trainer.stdout.readline()  # it has begun
        try:
            yield trainer.pid
        finally:
            trainer.terminate()


class Round:
    """Weights and activations of the right shapes.

    Args:
        seed: of their values.
    """

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)

        def made(*shape: int) -> Matrix:
            return rng.normal(0, 0.02, shape).astype(np.float32)

        rows = _SLICE_TEXTS * _TOKENS
        self._weights = [made(*shape) for _ in range(_LAYERS) for shape in _SHAPES]
        self._down = [made(weight.shape[0], _RANK) for weight in self._weights]
        self._inputs = [made(rows, weight.shape[0]) for weight in self._weights]
        self._gradients = [made(rows, weight.shape[1]) for weight in self._weights]

    def slice(self) -> None:
        """Forward and backward of a few texts through all layers."""
        for x, weight, down in zip(self._inputs, self._weights, self._down, strict=True):
            np.tanh(x @ weight)
            x @ down
        for x, g, weight, down in zip(
            self._inputs, self._gradients, self._weights, self._down, strict=True
        ):
            g @ weight.T
            (x @ down).T @ g


def main(argv: Sequence[str]) -> int:
    """Works until it is ended or its server goes away; returns the exit code."""
    parser = argparse.ArgumentParser(prog=__name__)
    parser.add_argument("socket")
    options = parser.parse_args(argv)
    step_back()
    work = Round()
    with closing(ServerLine(options.socket, "trainer")) as line:
        sys.stdout.write("training\n")
        sys.stdout.flush()
        try:
            while True:
                line.pause()
                work.slice()
        except ServerGone:
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
