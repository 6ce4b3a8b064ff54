"""Entry point of a trainer process: one piece of work for one model, beside serving.

The adapt process starts it (`trainers.py`), never a person. It writes the encoder's integer form if
there is none, finds out with held-out labels whether the model may be answered in it, tells the
server, which decides, and ends.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt import messages, versions
from honed_adapt.beside import ServerGone, ServerLine, step_back
from honed_adapt.encoder_store import EncoderDamaged
from honed_adapt.feedback_reader import FeedbackReader
from honed_adapt.feedback_values import State
from honed_adapt.head import Head
from honed_adapt.integers import open_integers, write_integers
from honed_adapt.lane import Row
from honed_adapt.precision import EncodeBatch, Evidence, find_out
from honed_adapt.quantise import NotQuantisable
from honed_adapt.vectors import read_vectors
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.logs import configure_logs
from honed_server.tokenizer import Tokenizer

log = structlog.get_logger(__name__)


def main(argv: Sequence[str]) -> int:
    """Does the work; returns the exit code."""
    options = _parser().parse_args(argv)
    configure_logs(options.log_format)
    step_back(options.nice)
    home = Path(options.home)
    with closing(ServerLine(options.socket, "trainer")) as line:
        try:
            write_integers(home, options.encoder)
            evidence = _evidence(options, home, _encoder(home, options.encoder, line))
        except ServerGone:
            return 0
        except (NotQuantisable, EncoderDamaged, versions.VersionError, OSError) as error:
            log.warning("no integers for this model", model=options.model, why=str(error))
            return 1
        if evidence is not None:
            line.send(_offer(options, evidence))
            line.hear()
    return 0


def _encoder(home: Path, digest: str, line: ServerLine) -> EncodeBatch:
    """Encodes texts as one batch in integers, within the budget."""
    files = open_integers(home, digest)
    encoder, tokenizer = OnnxEncoder(files), Tokenizer(files)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        line.pause()
        return encoder.encode([tokens.ids for tokens in tokenizer.tokenise(texts)])

    return encode


def _evidence(options: argparse.Namespace, home: Path, encode: EncodeBatch) -> Evidence | None:
    with FeedbackReader(home / "feedback.sqlite") as reader:
        _, entries = reader.counting(options.model, None)
    labels = [e for e in entries if e.state is State.ACTIVE and e.text]
    cache = home / "adapt" / "adapt.sqlite"
    positions = [entry.position for entry in labels]
    vectors = read_vectors(cache, options.model, options.encoder, positions)
    labels = [entry for entry in labels if entry.position in vectors]
    return find_out(
        [Row.of(entry, vectors[entry.position]) for entry in labels],
        {entry.position: entry.text for entry in labels},
        encode,
        base=_base(options, home),
        trust=json.loads(options.trust),
    )


def _base(options: argparse.Namespace, home: Path) -> Head | None:
    """The head that the model was imported with."""
    if not options.own_head_version:
        return None
    root = home / "models"
    _, head = versions.load_version(root, options.model, options.own_head_version)
    return head


def _offer(options: argparse.Namespace, evidence: Evidence) -> messages.Integers:
    return messages.Integers(
        model=options.model,
        encoder_digest=options.encoder,
        labels=evidence.labels,
        holdout=evidence.holdout,
        changed=evidence.changed,
        lost=evidence.lost,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="honed_server.trainer_main")
    parser.add_argument("--home", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--own-head-version", type=int, required=True)
    parser.add_argument("--trust", required=True)
    parser.add_argument("--log-format", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
