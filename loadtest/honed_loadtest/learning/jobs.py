"""What is measured, cut into jobs that need nothing of each other. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from honed_loadtest.learning.catalogue import (
    ENTRIES,
    HONED,
    ROUNDS,
    SEEDED,
    SLOW_ON,
    STREAMS,
    Plan,
)
from honed_loadtest.learning.contestant import Entry
from honed_loadtest.learning.streams import FIRST_LABELS

_PLAIN = ("random", "by-date")  # forms that others meet before the rest
Kind = Literal["product", "rounds", "stream"]


@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures.

    Attributes:
        kind: The product as a whole, what fine-tuning adds, or a contestant on a stream.
        data: Name of a data set or absolute path of a CSV file; "" for the product.
        form: How a stream is ordered; for rounds, the period of a dated stream or "".
        contestant: Name of its entry.
        seed: Of the stream.
    """

    kind: Kind
    data: str = ""
    form: str = ""
    contestant: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the data set, as `material` has it."""
        return name_of(self.data)

    @property
    def stream(self) -> str:
        """What is measured, whoever is: a form of a data set, its rounds or the product."""
        if self.kind == "stream":
            return f"{self.name}/{self.form}"
        return " ".join(word for word in (self.kind, self.name, self.form) if word)

    @property
    def title(self) -> str:
        """As people are told of it, without the seed."""
        return ", ".join(word for word in (self.stream, self.contestant) if word)

    def file(self, basis: Sequence[object]) -> str:
        """Name of the file of what it found.

        Args:
            basis: All that the findings depend on beside the job and the commit.
        """
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        whole = json.dumps([asdict(self), *basis], default=str)
        return f"{words[:80]}-{self.seed}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}.json"


def name_of(data: str) -> str:
    """A data set's name, or a file's without its endings unless it would be taken for a data set's.

    Args:
        data: As in `Job`.
    """
    name = Path(data).name
    stem = name.partition(".")[0]
    return name if stem in STREAMS else stem or name


def of_data(data: str, forms: Iterable[str], periods: Sequence[str], plan: Plan) -> Iterator[Job]:
    """The jobs of one data set.

    Args:
        data: Its name or path.
        forms: Those of its streams, and perhaps FIRST_LABELS and ROUNDS.
        periods: Beginnings of those that a dated stream is tuned for, and the last one's end.
        plan: How much.
    """
    for form in forms:
        if form == ROUNDS and not plan.rounds:
            continue
        if form == ROUNDS:
            spans = [" to ".join(pair) for pair in pairwise(periods)]
            yield from (Job("rounds", data, span) for span in spans or [""])
            continue
        if form == FIRST_LABELS:
            yield from _first(data)
            continue
        for entry in ENTRIES:
            if entry.slow:
                continue
            seeds = range(_orders(data, form, entry, plan))
            yield from (Job("stream", data, form, entry.name, seed) for seed in seeds)
        if (data, form) == SLOW_ON:
            yield from _first(data)


def _first(data: str) -> Iterator[Job]:
    return (Job("stream", data, FIRST_LABELS, entry.name) for entry in ENTRIES)


def _orders(data: str, form: str, entry: Entry, plan: Plan) -> int:
    """In how many orders a contestant meets a stream; there is but one order of time."""
    if form == "by-date":
        return 1
    if plan.seeds is not None:
        return plan.seeds
    own, others = SEEDED.get((data, form), (1, 1))
    return own if entry.name == HONED else others


def by_worth(jobs: Iterable[Job]) -> list[Job]:
    """In the order in which a run that is cut off should have them: Honed's own first."""

    def worth(job: Job) -> int:
        own = job.kind != "stream" or job.contestant == HONED
        return 0 if own else 1 if job.form in (FIRST_LABELS, *_PLAIN) else 2

    return sorted(jobs, key=worth)


def following(waiting: Sequence[Job], running: Iterable[Job]) -> Job:
    """Which job is to begin now: rounds take longest, so one of them is always under way."""
    rounds = any(job.kind == "rounds" for job in running)
    wanted = (job for job in waiting if (job.kind == "rounds") != rounds)
    return next(wanted, waiting[0])
