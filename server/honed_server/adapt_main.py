"""Entry point of the adapt process: hands the learning loop its encoder, its stores and its socket.

Run by `supervisor.py`, never by hand. It exits when the server's end of the socket closes.
"""

import argparse
import ctypes
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import structlog

from honed_adapt import messages, versions, wire
from honed_adapt.encoder_store import open_encoder
from honed_adapt.feedback_reader import FeedbackReader
from honed_adapt.head import Head
from honed_adapt.loop import AdaptLoop, Encode
from honed_adapt.vectors import VectorStore
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.generations import LoadedEncoder
from honed_server.logs import configure_logs
from honed_server.tokenizer import Tokenizer

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1


def make_encode(home: Path, digest: str) -> tuple[int, Encode]:
    """Length of a vector and the function from texts to vectors of one encoder on disk."""
    files = open_encoder(home, digest)
    return files.hidden, LoadedEncoder.of(OnnxEncoder(files), Tokenizer(files)).vectors


def load_head(home: Path, model: str, version: int) -> Head:
    """The head of a version on disk; raises VersionError if it is damaged."""
    _, head = versions.load_version(home / "models", model, version)
    return head


def main(argv: Sequence[str]) -> int:
    """Learns until the server goes away; returns the exit code."""
    options = _parser().parse_args(argv)
    configure_logs(options.log_format)
    _lower_priority(options.nice)
    home = Path(options.home)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(options.socket)
    with (
        connection,
        FeedbackReader(home / "feedback.sqlite") as reader,
        VectorStore(home / "adapt" / "adapt.sqlite") as vectors,
    ):
        loop = AdaptLoop(
            reader,
            vectors,
            make_encode=partial(make_encode, home),
            load_head=partial(load_head, home),
            send=lambda message: connection.sendall(messages.encode(message)),
            guard_items=options.guard_items,
            trust=json.loads(options.trust),
        )
        connection.sendall(messages.encode(messages.Hello("adapt", os.getpid())))
        return _run(connection, loop)


def _run(connection: socket.socket, loop: AdaptLoop) -> int:
    """Hears all that has been said before each step of work, so that wakes pile up to one."""
    while True:
        while not loop.busy or select.select([connection], [], [], 0)[0]:
            frame = wire.read_frame(connection)
            if frame is None:
                return 0
            loop.hear(messages.decode(frame))
        loop.step()


def _lower_priority(nice: int) -> None:
    """Serving comes first; and no adapt process survives its server."""
    os.nice(nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Without this a full memory would take the server as likely as this process.
    Path("/proc/self/oom_score_adj").write_text("800")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="honed_server.adapt_main")
    parser.add_argument("--home", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--guard-items", type=int, required=True)
    parser.add_argument("--trust", required=True)
    parser.add_argument("--log-format", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
