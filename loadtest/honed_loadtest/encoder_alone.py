"""The encoder without a server: the limit that serving is compared with.

`EncoderAlone` starts this module as a process and orders measurements from it. It is the one
place of the load harness that imports the server's parts: the limit must be that of the same
encoder, with the same settings, in a process of its own.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from honed_server.encoders.onnx import OnnxEncoder

    Batch = list[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement: threads that share a session run batches of so many texts.

    `wide` runs each batch on a session that has a spinning thread per core, as the server runs a
    lone request. Texts are tokenised beforehand.
    """

    threads: int
    texts: int
    seconds: float
    wide: bool = False


class EncoderAlone:
    """A process with an encoder in it, idle between orders.

    Args:
        folder: `encoders/<digest>` in a data folder.
        texts: What it encodes, in turn for ever.
    """

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "honed_loadtest.encoder_alone"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask({"home": str(folder.parents[1]), "digest": folder.name, "texts": list(texts)})

    def run(self, order: Order) -> tuple[float, list[float]]:
        """Texts a second, and the seconds of each batch."""
        answer: tuple[float, list[float]] = self._ask(asdict(order))
        return answer

    def _ask(self, question: object) -> tuple[float, list[float]]:
        assert self._process.stdin is not None, "stdin is a pipe"
        assert self._process.stdout is not None, "stdout is a pipe"
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        per_s, spans = json.loads(self._process.stdout.readline())
        return per_s, spans

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)


def _measure(encoder: "OnnxEncoder", rows: "Batch", order: Order) -> tuple[float, list[float]]:
    """Each thread runs batches until the time is over, and has its own rate."""
    batches, lock = _batches(rows, order.texts), threading.Lock()
    end = monotonic() + order.seconds

    def work() -> tuple[float, list[float]]:
        began, spans = monotonic(), list[float]()
        while (started := monotonic()) < end:
            with lock:
                batch = next(batches)
            encoder.encode(batch, lone=order.wide)
            spans.append(monotonic() - started)
        return len(spans) * order.texts / (monotonic() - began), spans

    with ThreadPoolExecutor(order.threads) as pool:
        working = [pool.submit(work) for _ in range(order.threads)]
    done = [future.result() for future in working]
    return sum(per_s for per_s, _ in done), [span for _, spans in done for span in spans]


def _batches(rows: "Batch", texts: int) -> "Iterator[Batch]":
    endless = cycle(rows)
    while True:
        yield [next(endless) for _ in range(texts)]


def main() -> None:
    """Obeys orders until the input ends."""
    from honed_adapt.encoder_store import open_encoder
    from honed_server.encoders.onnx import OnnxEncoder
    from honed_server.tokenizer import Tokenizer

    what = json.loads(sys.stdin.readline())
    files = open_encoder(Path(what["home"]), what["digest"])
    rows = [tokens.ids for tokens in Tokenizer(files).tokenise(what["texts"])]
    encoder = OnnxEncoder(files).widened(len(os.sched_getaffinity(0)), spin=True)
    for lone in (False, True):
        encoder.encode(rows[:2], lone=lone)
    answer: tuple[float, list[float]] = 0.0, []
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer = _measure(encoder, rows, Order(**json.loads(line)))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
