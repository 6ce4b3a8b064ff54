"""A small search of hyper-parameters under a stated budget (Optuna's TPE, seeded).

It stands before `train.py`: it proposes, trains for a shorter time, looks at the held-out labels,
and hands over the best numbers. The defaults are its first trial, so it cannot end below them on
what it looks at.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import optuna

from honed_adapt.encoders.store import EncoderFiles
from honed_adapt.storage.durable import fsync
from honed_adapt.training.examples import Example, fingerprint
from honed_adapt.training.train import Surroundings, train
from honed_adapt.training.tuning import Tuning

_TRIALS = "trials.json"
_EPOCHS = 2  # of a trial


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may cost.

    Attributes:
        trials: at most so many.
        minutes: none begins after so many minutes of this process; 0 for no limit.
    """

    trials: int
    minutes: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        tuning: the best hyper-parameters.
        tried: those of each trial in order, and its log loss as `loss`.
    """

    tuning: Tuning
    tried: Sequence[Mapping[str, float]] = ()


def search(
    files: EncoderFiles,
    examples: Sequence[Example],
    start: Tuning,
    budget: Budget,
    around: Surroundings,
    tell: Callable[[int, float], None] = lambda _trial, _loss: None,
) -> Found:
    """The best of some hyper-parameters by the log loss of the held-out labels.

    Args:
        files: the encoder to begin with.
        examples: labels, some held out.
        start: what to vary; tried first as it is.
        budget: what it may cost.
        around: as for `train`; what was tried is kept in its folder, so that a search that was
            interrupted goes on, if the encoder, the examples and the start are the same.
        tell: told the number and the loss of each trial that has ended.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=start.seed))
    study.enqueue_trial({"rate": start.rate, "scale": start.scale, "dropout": start.dropout})
    basis = {"encoder": files.digest, "examples": fingerprint(examples), "start": asdict(start)}
    record = _Record(around.work, basis)
    began = monotonic()
    for number in range(budget.trials):
        if number and budget.minutes and monotonic() - began > 60 * budget.minutes:
            break
        trial = study.ask()
        tuning = _proposed(trial, start)
        known = record.loss(number, trial.params)
        if known is None:
            work = None if around.work is None else around.work / f"trial-{number}"
            trained = train(files, examples, tuning, replace(around, work=work))
            known = trained.progress.scores[trained.progress.best][1]
            record.add(trial.params, known)
            if work is not None:  # its checkpoint is several times as large as the encoder
                shutil.rmtree(work, ignore_errors=True)
        study.tell(trial, known)
        tell(number, known)
    tried = [{**trial.params, "loss": float(trial.values[0])} for trial in study.trials]
    return Found(replace(start, **study.best_trial.params), tried)


def _proposed(trial: optuna.Trial, start: Tuning) -> Tuning:
    return replace(
        start,
        rate=trial.suggest_float("rate", start.rate / 4, start.rate * 4, log=True),
        scale=trial.suggest_float("scale", 10.0, 40.0, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.2),
        epochs=min(start.epochs, _EPOCHS),
    )


class _Record:
    """The trials that have ended, on disk, so that an interrupted search goes on.

    What is there of other labels is forgotten: one of them may have been deleted since.
    """

    def __init__(self, folder: Path | None, basis: Mapping[str, Any]) -> None:
        self._path = None if folder is None else folder / _TRIALS
        self._basis = basis
        self._trials = _trials(self._path, basis) if self._path is not None else []

    def loss(self, number: int, params: Mapping[str, float]) -> float | None:
        """What the trial of that number came to, if it was of these parameters."""
        if number < len(self._trials) and self._trials[number]["params"] == dict(params):
            return float(self._trials[number]["loss"])
        return None

    def add(self, params: Mapping[str, float], loss: float) -> None:
        """Keep the outcome of a trial."""
        self._trials.append({"params": dict(params), "loss": loss})
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._path.with_suffix(".aside")
            aside.write_text(json.dumps({"basis": self._basis, "trials": self._trials}))
            fsync(aside)
            os.replace(aside, self._path)


def _trials(path: Path, basis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those on disk, if they are whole and were made from the same."""
    try:
        state = json.loads(path.read_bytes())
        return list(state["trials"]) if state["basis"] == basis else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
