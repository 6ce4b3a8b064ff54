"""The head that a fine-tuned checkpoint brings: its final linear layer and its labels.

It stands between a user's folder and version 1 of their model. A head that was never trained
answers at random with every appearance of an answer, so it is recognised and refused.
"""

from collections.abc import Mapping
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.source import Checkpoint, open_checkpoint
from honed_adapt.head import Head

_REMEDY = "fine-tune the model, or import its encoder alone with --without-head"
_TASK = "ForSequenceClassification"
# What transformers assumes where config.json is silent.
_DEFAULT_LABELS = {"0": "LABEL_0", "1": "LABEL_1"}
_DEFAULT_DEVIATION = 0.02
_SIGMAS = 5  # a fresh head passes for a trained one about once in two million times


class HeadUntrained(EncoderUnsupported):
    """The checkpoint has no head, or one as it was initialised; the message says what to do."""


def read_own_head(source: Path) -> Head:
    """The final linear layer of a classifier, as float32, with its labels by their index.

    Args:
        source: a folder as transformers writes it.

    Raises:
        HeadUntrained: if the folder has no head, or one that was never trained.
        EncoderUnsupported: naming what Honed cannot serve.
    """
    checkpoint = open_checkpoint(source)
    name = checkpoint.architecture.family.classifier
    for tensor in (f"{name}.weight", f"{name}.bias"):
        if tensor not in checkpoint.tensors:
            raise HeadUntrained(
                f"{checkpoint.tensors.path} has no head, it lacks the tensor {tensor}; {_REMEDY}"
            )
    _check_task(checkpoint.config)
    _check_reads_vectors(checkpoint.config)
    rows = prod(checkpoint.tensors.shape(f"{name}.bias"))
    labels = _labels(checkpoint.config, rows)
    weight = checkpoint.tensors.array(f"{name}.weight", (rows, checkpoint.architecture.hidden))
    bias = checkpoint.tensors.array(f"{name}.bias", (rows,))
    _check_trained(weight, bias, checkpoint, name)
    return Head(labels, weight, bias)


def _check_task(config: Mapping[str, Any]) -> None:
    """See that the model gives each text one of several labels."""
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise EncoderUnsupported(
            f"config.json: problem_type is {problem!r}; Honed serves single_label_classification"
        )
    architectures = config.get("architectures") or [_TASK]
    known = isinstance(architectures, list)
    if not (known and all(str(name).endswith(_TASK) for name in architectures)):
        raise EncoderUnsupported(
            f"config.json: architectures is {architectures}; Honed serves models {_TASK}"
        )


def _check_reads_vectors(config: Mapping[str, Any]) -> None:
    """See that it is no head that Honed learned and exported with random features."""
    honed = config.get("honed")
    if isinstance(honed, dict) and "features" in honed:
        raise EncoderUnsupported(
            "config.json: the head reads random features behind the vector, which Honed learns "
            "from feedback; import the encoder alone with --without-head, and the feedback"
        )


def _labels(config: Mapping[str, Any], rows: int) -> tuple[str, ...]:
    names = config.get("id2label") or _DEFAULT_LABELS
    numbers = [str(row) for row in range(rows)]
    if rows < 2:
        raise EncoderUnsupported(
            f"the head has {rows} row, a regression; Honed serves two labels or more"
        )
    if not isinstance(names, dict) or names.keys() != set(numbers):
        raise EncoderUnsupported(
            f"config.json: id2label must name the rows of the head, 0 to {rows - 1}, and no others"
        )
    labels = tuple(str(names[number]) for number in numbers)
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise EncoderUnsupported(f"config.json: id2label names {twice!r} twice; rename one")
    return labels


def _check_trained(
    weight: NDArray[np.float32], bias: NDArray[np.float32], checkpoint: Checkpoint, name: str
) -> None:
    """See that a head is not as transformers makes it: zero biases, weights from N(0, deviation).

    Mean and deviation of n such weights scatter by deviation / sqrt(n) and deviation / sqrt(2 n).
    Any step of training moves a bias.
    """
    deviation = checkpoint.config.get("initializer_range")
    if not isinstance(deviation, float):
        deviation = _DEFAULT_DEVIATION
    scatter = _SIGMAS * deviation / sqrt(weight.size)
    off = abs(weight.std(dtype=np.float64) - deviation)
    if not bias.any() and abs(weight.mean(dtype=np.float64)) < scatter and off < scatter / sqrt(2):
        raise HeadUntrained(
            f"{checkpoint.tensors.path}: {name} was never trained, it is as transformers "
            f"initialises it (biases 0, weights from N(0, {deviation})); {_REMEDY}"
        )
