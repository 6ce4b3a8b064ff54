"""Entry point of the adapt process: hands the learning loop its encoder, its stores and its socket.

Run by `supervisor.py`, never by hand. It works within the budget that the server's load leaves
(`honed_adapt/process/beside.py`), and exits when the server's end of the socket closes.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.lineage import was_tuned
from honed_adapt.encoders.store import open_encoder, stored_encoders
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.values import State
from honed_adapt.head import Head
from honed_adapt.instant.parking import Parking
from honed_adapt.process import messages
from honed_adapt.process.ahead import Encode
from honed_adapt.process.beside import ServerGone, ServerLine, step_back
from honed_adapt.process.loop import AdaptLoop
from honed_adapt.storage import vectors_file, versions
from honed_adapt.storage.vectors import VectorStore
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.logs import configure_logs
from honed_server.rounds.trainers import Trainers
from honed_server.serving.tokenizer import Tokenizer

# Texts encoded at a time: as fast a text as any number, and soon out of the way.
_SLICE_TEXTS = 4


def make_encode(
    home: Path, digest: str, pause: Callable[[], None] = lambda: None
) -> tuple[int, Encode]:
    """Length of a vector and the function from texts to vectors of one encoder on disk.

    Args:
        home: Data folder.
        digest: Of the encoder.
        pause: Called before each slice of the work.
    """
    files = open_encoder(home, digest)
    encode = partial(encode_texts, OnnxEncoder(files), Tokenizer(files))

    def in_slices(texts: Sequence[str]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), _SLICE_TEXTS):
            pause()
            parts.append(encode(texts[start : start + _SLICE_TEXTS]))
        return np.concatenate(parts)

    return files.hidden, in_slices


def load_head(home: Path, model: str, version: int) -> Head:
    """The head of a version on disk; raises VersionError if it is damaged."""
    _, head = versions.load_version(home / "models", model, version)
    return head


def main(argv: Sequence[str]) -> int:
    """Learns until the server goes away; returns the exit code."""
    options = _parser().parse_args(argv)
    configure_logs(options.log_format)
    step_back(options.nice)
    home = Path(options.home)
    with (
        closing(ServerLine(options.socket, "adapt")) as line,
        FeedbackReader(home / "feedback.sqlite") as reader,
        VectorStore(home / "adapt" / "adapt.sqlite") as vectors,
    ):
        vectors.keep_encoders(stored_encoders(home))
        loop = AdaptLoop(
            reader,
            vectors,
            make_encode=partial(make_encode, home, pause=line.pause),
            was_tuned=partial(was_tuned, home),
            load_head=partial(load_head, home),
            send=line.send,
            guard_items=options.guard_items,
            trust=json.loads(options.trust),
            pause=line.pause,
            spare=lambda patient: line.spare(patient=patient),
            parking=Parking(home / "adapt" / "parked", options.memory_mb << 20),
        )
        flags = [
            "--home", options.home, "--socket", options.socket, "--nice", str(options.nice),
            "--trust", options.trust, "--log-format", options.log_format,
        ]  # fmt: skip
        trainers = Trainers(flags, integers=options.integers)
        adopting = partial(_adopt, home, vectors, reader)
        try:
            _run(line, loop, trainers, adopting)
        except ServerGone:
            return 0


def _run(
    line: ServerLine,
    loop: AdaptLoop,
    trainers: Trainers,
    adopt: Callable[[messages.Message], None],
) -> NoReturn:
    """Hears all that has been said before each step of work, so that wakes pile up to one."""
    while True:
        while not loop.busy or line.ready():
            if not line.ready():
                trainers.start_due(loop.lanes())
            message = line.hear()
            trainers.hear(message)
            adopt(message)
            loop.hear(message)
        loop.step()


def _adopt(
    home: Path, vectors: VectorStore, reader: FeedbackReader, message: messages.Message
) -> None:
    """Takes over the vectors that a round has left, before its encoder can be promoted."""
    if not isinstance(message, messages.VectorsReady):
        return

    def kept(model: str) -> set[int]:
        _, entries = reader.counting(model, None)
        return {entry.position for entry in entries if entry.state is not State.DELETED}

    vectors_file.adopt(home, vectors, kept, message.encoder_digest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="honed_server.learning.adapt_main")
    parser.add_argument("--home", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--guard-items", type=int, required=True)
    parser.add_argument("--trust", required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--integers", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--log-format", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
