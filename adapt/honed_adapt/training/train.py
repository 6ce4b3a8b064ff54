"""One training from examples to merged weights: the door that rounds and `honed train` come by.

It stands over `network.py`, `fit.py` and `saved.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic, process_time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from honed_adapt.encoders.store import EncoderFiles
from honed_adapt.training import saved
from honed_adapt.training.examples import Example, fingerprint
from honed_adapt.training.fit import Data, Fit, Progress
from honed_adapt.training.network import Network
from honed_adapt.training.tuning import Tuning

Tokenise = Callable[[Sequence[str]], Sequence[NDArray[np.int64]]]
Report = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training left.

    Attributes:
        tensors: the encoder's, under the store's names.
        progress: its course; `scores[best]` is what was kept.
        cpu_s: CPU seconds of this process for it.
        probes: vectors of the base's probe texts by the trained network, float32.
        names: (model, label) of each row of `directions`.
        directions: the training head on vectors of length 1, float32 (names, hidden); its logits
            are products with them.
    """

    tensors: Mapping[str, Tensor]
    progress: Progress
    cpu_s: float
    probes: NDArray[np.float32]
    names: Sequence[tuple[str, str]]
    directions: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a training is given by whoever runs it.

    Attributes:
        tokenise: texts to token ids.
        pause: called before each slice of work.
        report: told steps done, steps in all and seconds left, after each step.
        work: folder for checkpoints; None to keep none.
        save_steps: steps between two checkpoints.
    """

    tokenise: Tokenise
    pause: Callable[[], None] = lambda: None
    report: Report = lambda _step, _steps, _left: None
    work: Path | None = None
    save_steps: int = 50


def train(
    files: EncoderFiles,
    examples: Sequence[Example],
    tuning: Tuning,
    around: Surroundings,
    champion: Callable[[Sequence[Example], Sequence[tuple[str, str]]], NDArray[np.float32] | None]
    = lambda _examples, _names: None,
) -> Trained:  # fmt: skip
    """Fine-tune an encoder, or go on with that if it was interrupted.

    Args:
        files: the encoder to begin with.
        examples: labels; those held out choose the epoch whose weights are kept.
        tuning: hyper-parameters.
        around: tokens, pauses, reports and checkpoints.
        champion: probabilities of the champion, see `Data.champion`.
    """
    torch.set_num_threads(1)
    torch.manual_seed(tuning.seed)
    started = process_time()
    fit = _fit(files, examples, tuning, around, champion)
    basis = {
        "encoder": files.digest, "examples": fingerprint(examples), "tuning": asdict(tuning),
        # What one has said must not be gone on with when it may not be asked any more.
        "champion": fit.data.champion is not None,
    }  # fmt: skip
    found = saved.load(around.work, basis) if around.work is not None else None
    if found is not None:
        fit.restore(*found)
    else:
        fit.start()
    _run(fit, basis, around)
    fit.finish()
    fit.network.eval()
    with torch.no_grad():
        probes = [fit.network.vectors([row]).numpy() for row in files.probes.rows]
        tensors, directions = fit.network.merged(), fit.network.head_weight().numpy()
    return Trained(
        tensors,
        fit.progress,
        process_time() - started,
        np.concatenate(probes).astype(np.float32),
        fit.data.names,
        directions,
    )


def data_of(examples: Sequence[Example], tokenise: Tokenise) -> Data:
    """Examples as rows."""
    rows = range(len(examples))
    return Data(
        tokens=tokenise([example.text for example in examples]),
        labels=[(example.model, example.label) for example in examples],
        weights=[example.weight for example in examples],
        shares={i: example.shares for i, example in enumerate(examples) if example.shares},
        new=[i for i in rows if not examples[i].held and not examples[i].seen],
        old=[i for i in rows if not examples[i].held and examples[i].seen],
        held=[i for i in rows if examples[i].held],
    )


def _fit(files: EncoderFiles, examples: Sequence[Example], tuning: Tuning, around: Surroundings,
         champion: Callable[..., NDArray[np.float32] | None]) -> Fit:  # fmt: skip
    data = data_of(examples, around.tokenise)
    wanted = champion(examples, data.names)
    if wanted is not None:
        data = replace(data, champion=wanted)
    network = Network(files, len(data.names), tuning)
    return Fit(network, data, tuning, around.pause)


def _run(fit: Fit, basis: Mapping[str, object], around: Surroundings) -> None:
    began, first = monotonic(), fit.progress.step
    while not fit.progress.done:
        fit.advance()
        progress = fit.progress
        spent = (monotonic() - began) / (progress.step - first)
        around.report(progress.step, progress.steps, spent * (progress.steps - progress.step))
        if around.work is not None and (progress.step % around.save_steps == 0 or progress.done):
            saved.save(around.work, basis, progress, fit.state())
