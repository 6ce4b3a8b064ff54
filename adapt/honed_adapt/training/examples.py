"""The labels of a round: which are in effect, held out, new or replayed, told from the log.

It stands between the feedback log and `fit.py`. Neither the anchors nor what is in quarantine is
ever trained on. No torch here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from honed_adapt.feedback.values import Entry, Kind, State
from honed_adapt.gate.holdout import held_out
from honed_adapt.shares import Shares


@dataclass(frozen=True, slots=True)
class Example:
    """One label in effect.

    Attributes:
        model: whose.
        position: in the log; a row's number where there is none.
        text: not empty.
        text_hash: its SHA-256.
        label: its label, of a soft one that with the largest share.
        weight: how much it counts, above 0.
        seen: whether the champion's encoder was trained on it.
        held: whether it is held out.
        votes: whether it was drawn at random (AUDIT), and is one label.
        shares: all labels of a soft label, else empty.
    """

    model: str
    position: int
    text: str
    text_hash: bytes
    label: str
    weight: float = 1.0
    seen: bool = False
    held: bool = False
    votes: bool = False
    shares: Shares = ()


def in_effect(entries: Iterable[Entry], trust: Mapping[str, float]) -> list[Entry]:
    """The label that counts for each text, in log order: the newest of the most trusted.

    As `present.py` has it. Entries whose text is not kept any more cannot be encoded anew and are
    left out.
    """
    best: dict[bytes, Entry] = {}
    for entry in entries:
        if entry.state is not State.ACTIVE or not entry.text:
            continue
        old = best.get(entry.text_hash, entry)
        rank, before = trust.get(entry.submitter, 1.0), trust.get(old.submitter, 1.0)
        if (rank, entry.position) >= (before, old.position):
            best[entry.text_hash] = entry
    return sorted(best.values(), key=lambda entry: entry.position)


def examples_of(
    model: str, entries: Sequence[Entry], anchors: Collection[bytes], seen_to: int
) -> list[Example]:
    """The examples of one model.

    Args:
        model: its name.
        entries: what `in_effect` returned.
        anchors: hashes of texts that must not be trained on.
        seen_to: last log position that the champion's encoder was trained on.
    """
    held = {entry.position for entry in held_out(entries)}
    return [
        Example(
            model, entry.position, entry.text, entry.text_hash, entry.label, entry.weight,
            seen=entry.position <= seen_to, held=entry.position in held,
            votes=entry.kind is Kind.AUDIT and not entry.shares, shares=entry.shares,
        )
        for entry in entries
        if entry.text_hash not in anchors
    ]  # fmt: skip


def examples_from(model: str, pairs: Iterable[tuple[str, str]]) -> list[Example]:
    """The examples of a file of (text, label), each text once: its last label counts."""
    best = {text: (text, label) for text, label in pairs}
    rows = [
        Example(model, n, text, hashlib.sha256(text.encode()).digest(), label)
        for n, (text, label) in enumerate(best.values(), 1)
    ]
    return rows


def lacking(examples: Sequence[Example]) -> str | None:
    """What stands against training on these, which are of one model; None if nothing does."""
    if not examples:
        return "there are no labels with a text to train on"
    classes = len({one.label for one in examples if not one.held})
    if classes < 2:
        return f"there are labels of {classes} classes to train on, 2 are needed"
    return None


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 of what is trained on, without its texts: it changes when any label does."""
    digest = hashlib.sha256()
    for one in examples:
        facts = one.model, one.position, one.label, one.weight, one.seen, one.held, *one.shares
        digest.update(one.text_hash + repr(facts).encode())
    return digest.hexdigest()
