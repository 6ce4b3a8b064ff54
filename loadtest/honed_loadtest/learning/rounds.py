"""What fine-tuning adds to the instant lane, by the product's code and with its defaults.

A data set with a test file is learned whole: `honed train`'s recipe chooses by what it holds out of
the training file, and the test file is looked at once. A dated one is a stream: before a period the
encoder is tuned on all that came before, and within it labels are learned as they come, by the
instant lane over the tuned encoder and, for comparison, over the base.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.lineage import Lineage
from honed_adapt.encoders.store import EncoderFiles, import_encoder, open_encoder
from honed_adapt.feedback.values import text_hash
from honed_adapt.gate.holdout import held_out
from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import Row
from honed_adapt.scoring import best_labels
from honed_loadtest.errors import BenchError
from honed_loadtest.learning.streams import Material, Said
from honed_loadtest.learning.vectors import encoder_folder
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.serving.tokenizer import Tokenizer

Vectors = NDArray[np.float32]

_AT_ONCE = 50  # labels of a dated stream that come together
_PERIODS = {"arxiv_stream": ("2017-01", "2018-01", "2019-01")}
_LAST_SHARES = (0.8, 0.9)  # of any other dated stream: where its two periods begin
_END = "end"  # stands behind every date
_SEED = 0


def periods(material: Material) -> Sequence[str]:
    """Beginnings of the periods of a dated stream, and the end of the last.

    Where dates are coarse, so that a period would begin with the one before it, it begins with the
    next date; none without dates, and where nothing comes before a period.
    """
    if not material.dated:
        return ()
    if material.name in _PERIODS:
        return _PERIODS[material.name]
    dates = [said.date for said in material.train]
    begins = dates[:1]
    for share in _LAST_SHARES:
        wanted = max(dates[int(share * len(dates))], begins[-1])
        later = (date for date in dates if date >= wanted and date > begins[-1])
        begins += [date for date in [next(later, "")] if date]
    return (*begins[1:], _END) if begins[1:] else ()


def measured(material: Material, period: str) -> dict[str, Any]:
    """Accuracy over the base and over the tuned encoder, "instant" and "periodic".

    Args:
        material: The data set.
        period: "BEGIN to END" of a dated one, "" of another.

    Raises:
        BenchError: There is no encoder on this machine, or nothing to ask about.
    """
    if not period:
        return _whole(material)
    begin, _, end = period.partition(" to ")
    return _period(material, begin, end)


def _whole(material: Material) -> dict[str, Any]:
    from honed_server.rounds.offline import Recipe, TrainingError, run  # torch: seconds, only here

    labels = [(said.text, said.label) for said in material.train]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(material.name, Path(folder) / "out", encoder_folder(), seed=_SEED)
        try:
            report = run(recipe, labels, material.test)
        except TrainingError as error:
            raise BenchError(str(error)) from error
    return {
        "instant": report["base_closed_form"]["accuracy"],
        "periodic": report["closed_form"]["accuracy"],
        "asked": report["rows"],
        "epochs": report["epochs"],
        "best_epoch": report["best_epoch"],
        "tuning": report["tuning"],
    }


def _period(material: Material, begin: str, end: str) -> dict[str, Any]:
    past = [said for said in material.train if said.date < begin]
    now = [said for said in material.train if begin <= said.date < end]
    if not past or not now:
        raise BenchError(f"{material.name} has no rows before or in {begin} to {end}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        base = open_encoder(home, import_encoder(encoder_folder(), home))
        tuned, facts = _tuned(home, base, past)
        right = {
            "instant": _prequential(Lane(base.hidden), base, past, now),
            "periodic": _prequential(Lane(tuned.hidden, tuned=True), tuned, past, now),
        }
    shares = {name: count / len(now) for name, count in right.items()}
    return {**shares, "asked": len(now), **facts}


def _tuned(
    home: Path, base: EncoderFiles, past: Sequence[Said]
) -> tuple[EncoderFiles, dict[str, Any]]:
    from honed_adapt.training.examples import examples_from, lacking
    from honed_adapt.training.store import store_trained
    from honed_adapt.training.train import Surroundings, train
    from honed_adapt.training.tuning import Tuning

    tokenizer, tuning = Tokenizer(base), Tuning.of("adapter", _SEED)
    rows = examples_from("m", [(said.text, said.label) for said in past])
    held = {one.position for one in held_out(rows)}
    examples = [replace(one, held=one.position in held) for one in rows]
    if why := lacking(examples):
        raise BenchError(why)
    around = Surroundings(lambda texts: [tokens.ids for tokens in tokenizer.tokenise(texts)])
    trained = train(base, examples, tuning, around)
    lineage = Lineage(base.digest, base.digest, "", tuning.kind)
    scores = [
        {"accuracy": accuracy, "log_loss": loss} for accuracy, loss in trained.progress.scores
    ]
    facts = {"epochs": scores, "best_epoch": trained.progress.best + 1, "tuning": asdict(tuning)}
    return open_encoder(home, store_trained(home, base, trained, lineage)), facts


def _prequential(lane: Lane, files: EncoderFiles, past: Sequence[Said], now: Sequence[Said]) -> int:
    """How many of the new rows are answered rightly before they are learned."""
    encoder, tokenizer = OnnxEncoder(files), Tokenizer(files)
    every = [*past, *now]
    vectors = encode_texts(encoder, tokenizer, [said.text for said in every])
    rows = [
        Row(n, text_hash(said.text), said.label, "", 1.0, vector, votes=True)
        for n, (said, vector) in enumerate(zip(every, vectors, strict=True), 1)
    ]  # fmt: skip
    lane.rebuild(rows[: len(past)])
    right = 0
    for start in range(len(past), len(rows), _AT_ONCE):
        coming = rows[start : start + _AT_ONCE]
        answers = best_labels(lane.head, np.stack([row.vector for row in coming]))
        right += sum(answer == row.label for answer, row in zip(answers, coming, strict=True))
        lane.apply(coming)
        while lane.busy:
            lane.work()
        lane.take_over()
    return right
