"""Entry point of a trainer process: one piece of work, beside serving.

The adapt process starts it (`trainers.py`), never a person. It works on a fine-tuning round
(`work.py`), or on a trial of integers: it writes the encoder's integer form if there is none,
and finds out with held-out labels whether the model may be answered in it. It tells the server,
which decides, and ends.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.integers import open_integers, write_integers
from honed_adapt.encoders.precision import EncodeBatch, Evidence, find_out
from honed_adapt.encoders.quantise import NotQuantisable
from honed_adapt.encoders.store import EncoderDamaged
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.values import State
from honed_adapt.head import Head
from honed_adapt.instant.lane import Row
from honed_adapt.process import messages
from honed_adapt.process.beside import ServerGone, ServerLine, step_back
from honed_adapt.storage import versions
from honed_adapt.storage.errors import StoreError
from honed_adapt.storage.vectors import read_vectors
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.logs import configure_logs
from honed_server.rounds.trainers import order_of
from honed_server.rounds.work import RoundWork, Unfit
from honed_server.serving.tokenizer import Tokenizer

log = structlog.get_logger(__name__)


def main(argv: Sequence[str]) -> int:
    """Does the work; returns the exit code."""
    options = _parser().parse_args(argv)
    configure_logs(options.log_format)
    step_back(options.nice)
    with closing(ServerLine(options.socket, "trainer")) as line:
        try:
            return _round(options, line) if options.round else _trial(options, line)
        except ServerGone:
            return 0


def _round(options: argparse.Namespace, line: ServerLine) -> int:
    """Works on a fine-tuning round until it has ended, and says so."""
    order = order_of(options.round)
    work = RoundWork(Path(options.home), order, line, json.loads(options.trust))
    try:
        ended = work.run()
    except (Unfit, EncoderUnsupported, EncoderDamaged, StoreError, OSError, ImportError) as error:
        log.warning("the round failed", round_id=order.round_id, why=str(error))
        ended = messages.RoundEnded(order.round_id, "failed", str(error))
    line.send(ended)
    while True:  # until the server has ended the round, which ends this process
        line.hear()


def _trial(options: argparse.Namespace, line: ServerLine) -> int:
    """Finds out whether a model may be answered in integers."""
    home = Path(options.home)
    try:
        write_integers(home, options.encoder)
        evidence = _evidence(options, home, _encoder(home, options.encoder, line))
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
    parser = argparse.ArgumentParser(prog="honed_server.rounds.trainer_main")
    parser.add_argument("--home", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--round", help="a fine-tuning round, as JSON; without it a trial:")
    parser.add_argument("--model")
    parser.add_argument("--encoder")
    parser.add_argument("--own-head-version", type=int)
    parser.add_argument("--trust", required=True)
    parser.add_argument("--log-format", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
