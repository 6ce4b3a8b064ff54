"""The process in which an encoder is measured without a server; `encoder_alone.py` orders.

It is the one place of the load harness that imports the server's own parts, but for those that
take a server's place.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import cycle
from pathlib import Path
from time import monotonic

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from honed_adapt.encoders.store import EncoderFiles, open_encoder
from honed_loadtest import roofline
from honed_loadtest.encoder_alone import Order, Products
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer

Batch = list[NDArray[np.int64]]
Found = tuple[float, list[float]]
"""Runs a second of all threads together, and the seconds of each run."""


class _Encoder:
    """One encoder, its texts as tokens, and whatever is run beside it for comparison."""

    def __init__(self, files: EncoderFiles, texts: list[str]) -> None:
        self._architecture = files.architecture
        self._rows = [tokens.ids for tokens in Tokenizer(files).tokenise(texts)]
        self._encoder = OnnxEncoder(files)
        self._encoder.widen(len(os.sched_getaffinity(0)))
        for lone in (False, True):
            self._encoder.encode(self._rows[:2], lone=lone)

    def facts(self) -> dict[str, float]:
        """What a text is, in the mean."""
        sizes = [row.size for row in self._rows]
        work = [roofline.flop(self._architecture, size) for size in sizes]
        return {"tokens_a_text": float(np.mean(sizes)), "flop_a_text": float(np.mean(work))}

    def run(self, order: Order) -> Found:
        """Texts a second, and the seconds of each batch."""
        batches, lock = _batches(self._rows, order.texts), threading.Lock()

        def one() -> None:
            with lock:
                batch = next(batches)
            if order.padded:
                ids = np.stack(batch)
                _session(order.padded).run(
                    None, {"input_ids": ids, "attention_mask": np.ones_like(ids)}
                )
            else:
                self._encoder.encode(batch, lone=order.wide)

        if order.padded:
            one()
        per_s, spans = _in_threads(one, order.threads, order.seconds)
        return per_s * order.texts, spans

    def flop_per_s(self, wanted: Products) -> float:
        """Floating point operations a second in matrix products."""
        model = roofline.products(self._architecture, wanted.tokens)
        session = _opened(model.SerializeToString())
        shape = (wanted.tokens, self._architecture.hidden)
        inputs = {roofline.INPUT: np.random.default_rng(0).standard_normal(shape, np.float32)}
        session.run(None, inputs)
        per_s, _ = _in_threads(
            lambda: session.run(None, inputs) and None, wanted.threads, wanted.seconds
        )
        return per_s * roofline.products_flop(self._architecture, wanted.tokens)


def _in_threads(act: Callable[[], None], threads: int, seconds: float) -> Found:
    """Each thread acts once, and again until the time is over, and has its own rate."""
    end = monotonic() + seconds

    def work() -> Found:
        began, spans = monotonic(), list[float]()
        while (started := monotonic()) < end or not spans:
            act()
            spans.append(monotonic() - started)
        return len(spans) / (monotonic() - began), spans

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work) for _ in range(threads)]
    done = [future.result() for future in working]
    return sum(per_s for per_s, _ in done), [span for _, spans in done for span in spans]


def _batches(rows: Batch, texts: int) -> Iterator[Batch]:
    endless = cycle(rows)
    while True:
        yield [next(endless) for _ in range(texts)]


@cache
def _session(path: str) -> onnxruntime.InferenceSession:
    return _opened(path)


def _opened(graph: str | bytes) -> onnxruntime.InferenceSession:
    """A session of one thread, which several threads may share, with all that makes it fast."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Obeys orders until the input ends."""
    what = json.loads(sys.stdin.readline())
    encoder = _Encoder(open_encoder(Path(what["home"]), what["digest"]), what["texts"])
    _say(encoder.facts())
    for line in sys.stdin:
        match json.loads(line):
            case {"order": order}:
                _say(encoder.run(Order(**order)))
            case {"products": products}:
                _say(encoder.flop_per_s(Products(**products)))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
