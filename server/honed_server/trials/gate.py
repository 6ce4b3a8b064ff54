"""Puts an offered version before the gate: answers the anchor set with it and with the champion.

The server does this itself, with its own encoder, so that nothing an offer claims is believed; the
judgement is `honed_adapt.gate.evaluate`'s.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.gate.evaluate import judge
from honed_adapt.gate.evidence import Demands, Evidence, Latency
from honed_adapt.gate.paired import NO_ITEMS, Paired, by_class
from honed_adapt.gate.trials import Vote
from honed_adapt.head import Head
from honed_adapt.insight.scores import Calibration, calibration, softmax
from honed_adapt.scoring import best_labels, logits_of
from honed_server.edge.errors import NotReady
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.models.shelf import Shelf
from honed_server.serving.generations import LoadedEncoder

_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's decision: "promoted", "candidate" or "refused", why, and its numbers."""

    outcome: str
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def anchor(self) -> Paired:
        """The paired answers to the anchor set behind it."""
        wins, losses, total = (
            int(self.numbers.get(f"anchor_{name}", 0)) for name in ("wins", "losses", "total")
        )
        return Paired(wins, losses, total)

    @property
    def anchor_right(self) -> int | None:
        """How many anchor texts the candidate answers rightly."""
        return self.numbers.get("candidate_correct")


BY_HAND = Judged("promoted", "by hand")


@dataclass(frozen=True, slots=True)
class _Answered:
    """A head's answers to the anchor set."""

    labels: tuple[str | None, ...]
    calibration: Calibration | None = None


async def judge_checkpoint(catalogue: Catalogue, shelf: Shelf, entry: Entry) -> Judged:
    """Judges the serving revision against the version that it grew from."""
    serving = catalogue.serving(entry.row.name)
    try:
        row = shelf.find(entry.row.name, entry.row.active_version)
        champion = await shelf.read(row)
    except NotReady as error:
        return Judged("promoted", f"the version before it cannot be read: {error}")
    if row.tainted_position:
        return Judged("promoted", "the version before it was learned from deleted feedback")
    before, after = frozenset(champion.head.labels), frozenset(serving.head.labels)
    anchors = await asyncio.to_thread(catalogue.log.anchors, entry.row.name)
    evidence = Evidence(
        source="checkpoint",
        anchor_labels=tuple(label for _, label in anchors),
        champion_answers=await _answers(catalogue, entry, champion.head, champion.loaded),
        candidate_answers=await _answers(catalogue, entry, serving.head, serving.loaded),
        champion_labels=before,
        candidate_labels=after,
        # The instant lane drops a label only when its last feedback was withdrawn.
        withdrawn_labels=before - after,
        anchor_set=entry.anchor_set,
    )
    # What the guard let pass is not refused for the same loss a second time.
    return await asyncio.to_thread(_judged, evidence, Demands(loss_items=catalogue.guard_items))


async def judge_candidate(
    catalogue: Catalogue,
    entry: Entry,
    head: Head,
    loaded: LoadedEncoder,
    demands: Demands,
    latency: Latency | None,
    votes: Sequence[Vote] = (),
) -> Judged:
    """Judges an offered head against what serves.

    Args:
        catalogue: The models.
        entry: The model.
        head: What is offered.
        loaded: Its encoder.
        demands: What the gate demands.
        latency: What a long text costs with both.
        votes: Audits that both have answered, if it was on trial.
    """
    name = entry.row.name
    serving = catalogue.serving(name)
    anchors = await asyncio.to_thread(catalogue.log.anchors, name)
    labels = tuple(label for _, label in anchors)
    champion = await _scored(catalogue, entry, serving.head, serving.loaded, labels)
    candidate = await _scored(catalogue, entry, head, loaded, labels)
    classes = by_class((vote.label, vote.serving_right, vote.rival_right) for vote in votes)
    evidence = Evidence(
        source="candidate",
        anchor_labels=labels,
        champion_answers=champion.labels,
        candidate_answers=candidate.labels,
        champion_labels=frozenset(serving.head.labels),
        candidate_labels=frozenset(head.labels),
        audit=sum(classes.values(), NO_ITEMS),
        audit_classes=classes,
        feedback_labels=await asyncio.to_thread(catalogue.log.audited_labels, name),
        calibration=_compared(champion.calibration, candidate.calibration),
        latency=latency,
        anchor_set=entry.anchor_set,
    )
    return await asyncio.to_thread(_judged, evidence, demands)


async def anchor_score(catalogue: Catalogue, entry: Entry) -> int:
    """How many anchor texts what serves now answers rightly."""
    serving = catalogue.serving(entry.row.name)
    return await anchor_correct(catalogue, entry, serving.head, serving.loaded)


async def anchor_correct(
    catalogue: Catalogue, entry: Entry, head: Head, loaded: LoadedEncoder
) -> int:
    """How many anchor texts a head answers rightly."""
    anchors = await asyncio.to_thread(catalogue.log.anchors, entry.row.name)
    answers = await _answers(catalogue, entry, head, loaded)
    return sum(a == label for a, (_, label) in zip(answers, anchors, strict=True))


def _judged(evidence: Evidence, demands: Demands) -> Judged:
    verdict = judge(evidence, demands)
    # Records are JSON, which has no infinity.
    numbers = {name: min(value, _LARGEST) for name, value in verdict.numbers.items()}
    return Judged(verdict.outcome, verdict.reason, numbers)


async def _answers(
    catalogue: Catalogue, entry: Entry, head: Head, loaded: LoadedEncoder
) -> tuple[str | None, ...]:
    vectors = await anchor_vectors(catalogue, entry, loaded)
    return tuple(await catalogue.pool.beside(lambda v: best_labels(head, v), vectors))


async def _scored(
    catalogue: Catalogue, entry: Entry, head: Head, loaded: LoadedEncoder, labels: Sequence[str]
) -> _Answered:
    """A head's answers to the anchor set, and how far its probabilities are off."""
    vectors = await anchor_vectors(catalogue, entry, loaded)
    return await catalogue.pool.beside(lambda v: _answered(head, v, labels), vectors)


def _answered(head: Head, vectors: NDArray[np.float32], labels: Sequence[str]) -> _Answered:
    index = {label: at for at, label in enumerate(head.labels)}
    known = [row for row, label in enumerate(labels) if label in index]
    if not known:
        return _Answered(tuple(best_labels(head, vectors)))
    logits = logits_of(head, vectors)
    found = tuple(head.labels[at] for at in logits.argmax(axis=1).tolist())
    targets = np.array([index[labels[row]] for row in known], np.int64)
    return _Answered(found, calibration(softmax(logits[known], head.temperature), targets))


def _compared(
    champion: Calibration | None, candidate: Calibration | None
) -> tuple[Calibration, Calibration] | None:
    return (champion, candidate) if champion and candidate else None


async def anchor_vectors(
    catalogue: Catalogue, entry: Entry, loaded: LoadedEncoder
) -> NDArray[np.float32]:
    """Vectors of the anchor set under one encoder, encoded once for each set and encoder.

    Asked for before the entry's lock is taken, they hold up nobody who waits for that.
    """
    key, number = loaded.key, entry.anchor_set
    vectors = entry.anchor_vectors.get(key)
    if vectors is None:
        anchors = await asyncio.to_thread(catalogue.log.anchors, entry.row.name)
        vectors = await catalogue.pool.beside(loaded.vectors, [text for text, _ in anchors])
        if entry.anchor_set == number:
            entry.anchor_vectors[key] = vectors
    return vectors
