"""Puts an offered version before the gate: answers the anchor set with it and with the champion.

The server does this itself, with its own encoder, so that nothing an offer claims is believed; the
judgement is `honed_adapt.evaluate`'s.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.evaluate import Evidence, Policy, Source, judge
from honed_adapt.head import Head
from honed_adapt.messages import Candidate
from honed_server.catalogue import Catalogue, Entry
from honed_server.errors import NotReady
from honed_server.generations import LoadedEncoder
from honed_server.shelf import Shelf

_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's decision: "promoted", "candidate" or "refused", why, and its numbers."""

    outcome: str
    reason: str
    numbers: Mapping[str, Any]


BY_HAND = Judged("promoted", "by hand", {})


async def judge_checkpoint(catalogue: Catalogue, shelf: Shelf, entry: Entry) -> Judged:
    """Judges the serving revision against the version that it grew from."""
    serving = catalogue.serving(entry.row.name)
    try:
        row = shelf.find(entry.row.name, entry.row.active_version)
        champion = await shelf.read(row)
    except NotReady as error:
        return Judged("promoted", f"the version before it cannot be read: {error}", {})
    if row.tainted_position:
        return Judged("promoted", "the version before it was learned from deleted feedback", {})
    return await _judge(
        catalogue,
        entry,
        (champion.head, champion.loaded),
        (serving.head, serving.loaded),
        "checkpoint",
    )


async def judge_candidate(
    catalogue: Catalogue, entry: Entry, offer: Candidate, loaded: LoadedEncoder
) -> Judged:
    """Judges an offered head against what serves."""
    serving = catalogue.serving(entry.row.name)
    return await _judge(
        catalogue, entry, (serving.head, serving.loaded), (offer.head, loaded), "candidate"
    )


async def anchor_score(catalogue: Catalogue, entry: Entry) -> int:
    """How many anchor texts what serves now answers rightly."""
    serving = catalogue.serving(entry.row.name)
    return await anchor_correct(catalogue, entry, serving.head, serving.loaded)


async def anchor_correct(
    catalogue: Catalogue, entry: Entry, head: Head, loaded: LoadedEncoder
) -> int:
    """How many anchor texts a head answers rightly."""
    anchors = await asyncio.to_thread(catalogue.log.anchors, entry.row.name)
    vectors = await _anchor_vectors(catalogue, entry, loaded, [text for text, _ in anchors])
    answers = _answers(head, vectors)
    return sum(a == label for a, (_, label) in zip(answers, anchors, strict=True))


async def _judge(
    catalogue: Catalogue,
    entry: Entry,
    champion: tuple[Head, LoadedEncoder],
    candidate: tuple[Head, LoadedEncoder],
    source: Source,
) -> Judged:
    anchors = await asyncio.to_thread(catalogue.log.anchors, entry.row.name)
    texts = [text for text, _ in anchors]
    answers = []
    for head, loaded in (champion, candidate):
        vectors = await _anchor_vectors(catalogue, entry, loaded, texts)
        answers.append(_answers(head, vectors))
    before, after = frozenset(champion[0].labels), frozenset(candidate[0].labels)
    verdict = judge(
        Evidence(
            source=source,
            anchor_labels=tuple(label for _, label in anchors),
            champion_answers=tuple(answers[0]),
            candidate_answers=tuple(answers[1]),
            champion_labels=before,
            candidate_labels=after,
            # The instant lane drops a label only when its last feedback was withdrawn.
            withdrawn_labels=before - after if source == "checkpoint" else frozenset(),
        ),
        # What the guard let pass is not refused for the same loss a second time.
        Policy(loss_items=catalogue.guard_items) if source == "checkpoint" else None,
    )
    # Records are JSON, which has no infinity.
    numbers = {name: min(value, _LARGEST) for name, value in verdict.numbers.items()}
    return Judged(verdict.outcome, verdict.reason, numbers)


async def _anchor_vectors(
    catalogue: Catalogue, entry: Entry, loaded: LoadedEncoder, texts: list[str]
) -> NDArray[np.float32]:
    """Vectors of the anchor set under one encoder, encoded once for each set and encoder."""
    key = loaded.key
    if key not in entry.anchor_vectors:
        entry.anchor_vectors[key] = await catalogue.pool.beside(loaded.vectors, texts)
    return entry.anchor_vectors[key]


def _answers(head: Head, vectors: NDArray[np.float32]) -> list[str | None]:
    """The best label for each vector; None from a head that knows no label."""
    if not head.labels:
        return [None] * len(vectors)
    best = (vectors @ head.weight.T + head.bias).argmax(axis=1)
    return [head.labels[i] for i in best]
