"""What will serve over a tuned encoder: the closed-form head, and how it does on what was held out.

It stands after `store.py`. Fine-tuning moves the vectors; the head is learned from them as the
instant lane learns, from all labels, so that learning simply goes on after a swap. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.insight.scores import calibration, softmax
from honed_adapt.instant.calibration import HeldOut, TemperaturePrior, fit_temperature
from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import Row
from honed_adapt.scoring import best_labels, logits_of
from honed_adapt.training.examples import Example

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two heads, each learned without the held-out texts, on those texts.

    Attributes:
        held: texts that were held out.
        accuracy: of the head over the tuned encoder.
        champion_accuracy: of the head over the champion's encoder.
        votes: held-out texts that were drawn at random (AUDIT).
        wins: of these, those that only the tuned one answers rightly.
        losses: those that only the champion answers rightly.
    """

    held: int
    accuracy: float
    champion_accuracy: float
    votes: int
    wins: int
    losses: int

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def learn(
    rows: Sequence[Row],
    hidden: int,
    pause: Callable[[], None] = lambda: None,
    wanted: Wanted | None = None,
    *,
    tuned: bool = False,
) -> Head:
    """The head that the instant lane would serve with these rows, which are in effect.

    Args:
        rows: what is learned.
        hidden: length of a vector.
        pause: called between slices of the work.
        wanted: what the head shall promise; by the rows alone, since no audit has been asked yet
            whether its sets hold. None for nothing.
        tuned: whether the vectors are of an encoder that was trained on what was not held out.
    """
    lane = Lane(hidden, tuned=tuned)
    lane.rebuild(rows, pause=pause)
    return lane.head if wanted is None else Promises().add(lane.head, lane.sampled, wanted)


def calibrated(
    weight: Vectors, bias: Vectors, labels: Sequence[str], held: Vectors, targets: Sequence[str]
) -> Head:
    """A plain linear head with the temperature that held-out texts ask for.

    Args:
        weight: float32 (labels, hidden).
        bias: float32 (labels,).
        labels: its labels.
        held: vectors of the held-out texts, float32 (rows, hidden).
        targets: their labels; rows of others than `labels` are left out.
    """
    known = [row for row, label in enumerate(targets) if label in labels]
    logits = held[known].astype(np.float64) @ weight.T + bias
    places = np.array([labels.index(targets[row]) for row in known], np.int64)
    sample = HeldOut(logits, places, np.ones(len(known)))
    temperature = fit_temperature(sample, TemperaturePrior())
    return Head(tuple(labels), weight, bias, temperature)


def discriminant(rows: Sequence[Row], hidden: int) -> tuple[Vectors, Vectors, tuple[str, ...]]:
    """The linear part of what the instant lane makes of rows: weight, bias and labels."""
    lane = Lane(hidden)
    lane.rebuild(rows)
    solution = lane.solution
    assert solution is not None, "there are rows"
    weight, bias = solution.weight.astype(np.float32), solution.bias.astype(np.float32)
    return weight, bias, tuple(solution.labels)


def compare(
    examples: Sequence[Example],
    tuned: Mapping[int, Vectors],
    champion: Mapping[int, Vectors],
    pause: Callable[[], None] = lambda: None,
) -> Comparison | None:
    """Judge a tuned encoder by what one model held out; None if nothing was.

    Args:
        examples: of one model.
        tuned: vector of each by log position.
        champion: the same over the champion's encoder.
        pause: called between slices of the work.
    """
    known = [e for e in examples if e.position in tuned and e.position in champion]
    held = [example for example in known if example.held]
    if not held or all(example.held for example in known):
        return None
    right = []
    for vectors in (tuned, champion):
        rows = [row_of(e, vectors[e.position]) for e in known if not e.held]
        head = learn(rows, rows[0].vector.size, pause)
        answers = best_labels(head, np.stack([vectors[e.position] for e in held]))
        right.append([answer == e.label for answer, e in zip(answers, held, strict=True)])
    pairs = [pair for *pair, e in zip(*right, held, strict=True) if e.votes]
    return Comparison(
        held=len(held),
        accuracy=float(np.mean(right[0])),
        champion_accuracy=float(np.mean(right[1])),
        votes=len(pairs),
        wins=pairs.count([True, False]),
        losses=pairs.count([False, True]),
    )


def row_of(example: Example, vector: Vectors) -> Row:
    """An example with its vector, ready to be learned."""
    return Row(
        example.position, example.text_hash, example.label, "", example.weight, vector,
        example.votes, example.shares,
    )  # fmt: skip


def champion_says(
    examples: Sequence[Example],
    names: Sequence[tuple[str, str]],
    heads: Mapping[str, Head],
    vectors: Mapping[tuple[str, int], Vectors],
    softening: float,
) -> NDArray[np.float32] | None:
    """The champions' softened probabilities of rows that their encoder was trained on.

    Args:
        examples: rows; those not `seen`, or without a vector, get zeros.
        names: the columns, (model, label).
        heads: what serves, by model.
        vectors: over the champion's encoder, by model and log position.
        softening: temperature beside each head's own.

    Returns:
        float32 (rows, names), or None if there is nothing to learn from.
    """
    column = {name: i for i, name in enumerate(names)}
    found = np.zeros((len(examples), len(names)), np.float32)
    for model, head in heads.items():
        rows = [
            i for i, e in enumerate(examples)
            if e.model == model and e.seen and (model, e.position) in vectors
        ]  # fmt: skip
        shared = [label for label in head.labels if (model, label) in column]
        if not rows or not shared:
            continue
        logits = logits_of(head, np.stack([vectors[model, examples[i].position] for i in rows]))
        kept = [head.labels.index(label) for label in shared]
        odds = softmax(logits[:, kept] / head.temperature, softening)
        found[np.ix_(rows, [column[model, label] for label in shared])] = odds
    return found if found.any() else None


def report(head: Head, vectors: Vectors, labels: Sequence[str]) -> dict[str, Any]:
    """How a head does on texts that it has not seen.

    Args:
        head: at least one label.
        vectors: float32 (rows, hidden), at least one.
        labels: the right label of each.

    Returns:
        accuracy, macro_f1, calibration_error (15 bins), brier; classes: precision, recall, f1 and
        support by label; confusion: [label, answer, count] of what was confused, most first.
    """
    known = sorted({*head.labels, *labels})
    target = np.array([known.index(label) for label in labels])
    odds = np.zeros((len(labels), len(known)))
    odds[:, [known.index(label) for label in head.labels]] = softmax(
        logits_of(head, vectors), head.temperature
    )
    answer = odds.argmax(axis=1)
    table = np.zeros((len(known), len(known)), int)
    np.add.at(table, (target, answer), 1)
    scores = calibration(odds, target)
    classes = {label: _class_scores(table, i) for i, label in enumerate(known)}
    present = [c["f1"] for c in classes.values() if c["support"]]
    return {
        "rows": len(labels),
        "accuracy": float((answer == target).mean()),
        "macro_f1": float(np.mean(present)),
        "calibration_error": scores.error,
        "brier": scores.brier,
        "classes": classes,
        "confusion": _confused(table, known),
    }


def _class_scores(table: NDArray[np.int64], i: int) -> dict[str, float]:
    right, said, are = int(table[i, i]), int(table[:, i].sum()), int(table[i].sum())
    return {
        "precision": right / said if said else 0.0,
        "recall": right / are if are else 0.0,
        "f1": 2 * right / (said + are) if said + are else 0.0,
        "support": are,
    }


def _confused(table: NDArray[np.int64], known: Sequence[str]) -> list[list[str | int]]:
    pairs = [
        (int(table[i, j]), known[i], known[j]) for i, j in np.argwhere(table > 0) if i != j
    ]  # fmt: skip
    return [[label, answer, count] for count, label, answer in sorted(pairs, key=_most_first)]


def _most_first(pair: tuple[int, str, str]) -> tuple[int, str, str]:
    return -pair[0], pair[1], pair[2]
