"""Streams of labels: the order in which they come, what is said of them, and what is asked after.

Every form is made of the rows of one data set and a seed; nothing here has seen a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from honed_loadtest import datasets
from honed_loadtest.datasets import Example

WRONG = 0.2
"""Share of labels that are wrong in the noisy form."""
ADVERSARY, ADVERSARIAL, HONEST = "mallory", 0.3, 10
"""Who lies in the adversarial form, their share of the labels, and how many others there are."""
LATE = 0.3
"""Share of the classes that come one by one in the late form."""
FIRST_LABELS = "first labels"
"""The random form, or that by date, cut short: slow contestants are shown it too."""
_CLASSES_A_BLOCK = 12
_LATE_FROM, _LATE_TO = 0.2, 0.8


@dataclass(frozen=True, slots=True)
class Said:
    """One label of a stream.

    Attributes:
        text: What was labelled.
        label: What is said of it.
        truth: What is right.
        submitter: Who says so, "" if nobody is named.
        date: When, "" where that is not known.
    """

    text: str
    label: str
    truth: str
    submitter: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """One data set.

    Attributes:
        name: As it stands in results.
        train: Rows to learn.
        test: Rows that nobody learns.
        outside: Texts that have no label.
        skipped: Sentences about rows of its file that could not be used.
    """

    name: str
    train: tuple[Said, ...]
    test: tuple[Example, ...] = ()
    outside: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def dated(self) -> bool:
        """Whether it is a stream in the order of time."""
        return bool(self.train) and all(said.date for said in self.train)


@dataclass(frozen=True, slots=True)
class Stream:
    """Labels in the order in which they come, and what is asked after some of them.

    Attributes:
        name: The data set.
        form: How the labels are ordered or spoilt.
        seed: Of both.
        said: The labels.
        test: Rows that nobody learns; empty where the stream itself is the test.
        outside: Texts that no class holds.
        blocks: Classes that come together, in turn, for what is forgotten; empty if all come mixed.
    """

    name: str
    form: str
    seed: int
    said: tuple[Said, ...]
    test: tuple[Example, ...]
    outside: tuple[str, ...] = ()
    blocks: tuple[frozenset[str], ...] = ()

    @property
    def classes(self) -> list[str]:
        """All labels that are right somewhere in the stream, sorted."""
        return sorted({one.truth for one in self.said})

    @property
    def key(self) -> str:
        """What names it in results, without the seed."""
        return f"{self.name}/{self.form}"


def _random(material: Material, seed: int) -> Stream:
    """All rows in random order."""
    order = np.random.default_rng(seed).permutation(len(material.train))
    said = tuple(material.train[i] for i in order)
    return Stream(material.name, "random", seed, said, material.test)


def _incremental(material: Material, seed: int) -> Stream:
    """Blocks of some classes each, one block after the other."""
    classes = sorted({one.truth for one in material.train})
    blocks = max(2, round(len(classes) / _CLASSES_A_BLOCK))
    rows = [(str(at), one.truth) for at, one in enumerate(material.train)]
    ordered = datasets.class_incremental(rows, blocks=min(blocks, len(classes)), seed=seed)
    said = tuple(material.train[int(at)] for at, _ in ordered)
    together = np.array_split(np.random.default_rng(seed).permutation(len(classes)), blocks)
    sets = tuple(frozenset(classes[i] for i in block) for block in together)
    return Stream(material.name, "class-incremental", seed, said, material.test, blocks=sets)


def _late(material: Material, seed: int) -> Stream:
    """Most classes from the beginning, the others one by one."""
    random = np.random.default_rng(seed)
    classes = sorted({one.truth for one in material.train})
    late = random.permutation(len(classes))[: round(LATE * len(classes))]
    starts = np.linspace(_LATE_FROM, _LATE_TO, len(late))
    first = {classes[at]: float(start) for at, start in zip(late, starts, strict=True)}
    places = []
    for one, chance in zip(material.train, random.random(len(material.train)), strict=True):
        start = first.get(one.truth, 0.0)
        places.append(start + (1 - start) * float(chance))
    said = tuple(material.train[i] for i in np.argsort(places, kind="stable"))
    return Stream(material.name, "late-class", seed, said, material.test)


def _noisy(material: Material, seed: int) -> Stream:
    """Random order, and some labels are another one by chance."""
    stream, random = _random(material, seed), np.random.default_rng(seed + 1)
    classes = stream.classes
    said = []
    for one in stream.said:
        others = [name for name in classes if name != one.truth]
        lie = others[random.integers(len(others))] if random.random() < WRONG else one.label
        said.append(replace(one, label=lie))
    return replace(stream, form="noisy", said=tuple(said))


def _adversarial(material: Material, seed: int) -> Stream:
    """Random order; one of eleven submitters gives many labels, each that of the next class."""
    stream, random = _random(material, seed), np.random.default_rng(seed + 1)
    classes = stream.classes
    following = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    said = []
    for one in stream.said:
        if random.random() < ADVERSARIAL:
            said.append(replace(one, label=following[one.truth], submitter=ADVERSARY))
        else:
            said.append(replace(one, submitter=f"honest-{random.integers(HONEST)}"))
    return replace(stream, form="adversarial", said=tuple(said))


def _outside(material: Material, seed: int) -> Stream:
    """Random order, and texts that belong to no class are asked about at the end.

    Where the data set has none, every tenth class is left out of the stream to be outside of it.
    """
    if material.outside:
        return replace(_random(material, seed), form="out-of-scope", outside=material.outside)
    classes = sorted({one.truth for one in material.train})
    out = set(classes[::10])
    kept = tuple(one for one in material.train if one.truth not in out)
    test = tuple(row for row in material.test if row[1] not in out)
    strange = tuple(text for text, label in material.test if label in out)
    stream = _random(replace(material, train=kept, test=test), seed)
    return replace(stream, form="out-of-scope", outside=strange)


def _dated(material: Material, seed: int) -> Stream:
    """The order of the file, which is that of time."""
    return Stream(material.name, "by-date", seed, material.train, material.test)


FORMS: Mapping[str, Callable[[Material, int], Stream]] = {
    "random": _random,
    "class-incremental": _incremental,
    "late-class": _late,
    "noisy": _noisy,
    "adversarial": _adversarial,
    "out-of-scope": _outside,
    "by-date": _dated,
}


def stream(material: Material, form: str, seed: int, first: int | None = None) -> Stream:
    """The labels of a data set in one form.

    Args:
        material: The data set.
        form: One of FORMS, or FIRST_LABELS.
        seed: Of the order and of what is wrong.
        first: How many labels FIRST_LABELS has.
    """
    if form != FIRST_LABELS:
        return FORMS[form](material, seed)
    whole = FORMS["by-date" if material.dated else "random"](material, seed)
    return replace(whole, form=FIRST_LABELS, said=whole.said[:first])


def texts_of(material: Material) -> list[str]:
    """All texts of a data set, each once."""
    found = dict.fromkeys(said.text for said in material.train)
    found.update(dict.fromkeys(text for text, _ in material.test))
    found.update(dict.fromkeys(material.outside))
    return list(found)
