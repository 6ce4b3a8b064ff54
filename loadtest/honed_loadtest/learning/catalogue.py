"""Which contestants meet on which streams, and how much of each a quick run shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from honed_loadtest.learning.contestant import Contestant, Entry
from honed_loadtest.learning.honed_lane import HonedLane
from honed_loadtest.learning.others import (
    REFIT_GROWTH,
    REFIT_LEAST,
    Neighbours,
    PartialFit,
    Refit,
    River,
)
from honed_loadtest.learning.rivals import Rival
from honed_loadtest.learning.streams import FIRST_LABELS

HONED = "Honed, instant lane"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seeds: Orders of each form that is random; None for those of SEEDED.
        limit: Rows of each part of a data set, None for all.
        delay: Rows by which every label comes late, beside its batch.
        first: Labels of the streams that slow contestants are shown.
        test_rows: Test rows that slow contestants are asked.
        environments: Whether contestants that need environments of their own are made them.
        product: Whether a real server is measured too.
        rounds: Whether encoders are fine-tuned too.
    """

    seeds: int | None = None
    limit: int | None = None
    delay: int = 0
    first: int = 1000
    test_rows: int = 400
    environments: bool = True
    product: bool = True
    rounds: bool = True

    @classmethod
    def quick(cls) -> Plan:
        """Only shows that all of it runs."""
        return cls(1, 150, 0, 100, 50, environments=False, product=False, rounds=False)


ROUNDS = "rounds"
"""Beside the forms of streams: what fine-tuning adds on a data set."""
_ALL = (
    "random", "class-incremental", "late-class", "noisy", "adversarial", "out-of-scope", ROUNDS
)  # fmt: skip
STREAMS: dict[str, tuple[str, ...]] = {
    "banking77": _ALL,
    "medical_abstracts": ("random", ROUNDS),
    "kdconv_zh": ("random", ROUNDS),
    "clinc150": _ALL,
    "arxiv_stream": ("by-date", ROUNDS),
}
FILE_FORMS = (_ALL[0], FIRST_LABELS, *_ALL[1:])
DATED_FORMS = ("by-date", FIRST_LABELS, ROUNDS)
"""Those of any file, without dates and with them."""
SEEDED = {
    ("banking77", "random"): (5, 2),
    ("banking77", "class-incremental"): (5, 2),
    ("banking77", "late-class"): (5, 1),
    ("clinc150", "random"): (5, 1),
    ("clinc150", "class-incremental"): (5, 1),
}
"""Orders of a stream for Honed and for the others; the other streams are run in one."""
SLOW_ON = ("banking77", "random")
"""Whose first labels slow contestants are shown."""


def _honed(classes: Sequence[str]) -> Contestant:
    return HonedLane()


ENTRIES = (
    Entry(HONED, _honed, settings="the product's code and defaults; all labels count as audits"),
    Entry(
        "logistic regression, refitted",
        Refit,
        least=REFIT_LEAST,
        packages=("sklearn",),
        settings="scikit-learn's LogisticRegression, C=10, fitted to all labels again whenever "
        f"{REFIT_LEAST} came or they grew by {REFIT_GROWTH:.0%}; for the looks after 1,000 labels "
        "and at the end to all",
    ),
    Entry(
        "scikit-learn partial_fit",
        PartialFit,
        told=True,
        packages=("sklearn",),
        settings="SGDClassifier with its defaults; is told all classes before the first label",
    ),
    Entry("5 nearest neighbours", Neighbours, settings="votes weighted by the cosine"),
    Entry(
        "river softmax", River, slow=True, packages=("river",), settings="SoftmaxRegression, SGD(1)"
    ),
    Entry(
        "adaptive-classifier",
        partial(Rival, "adaptive_classifier"),
        environment="adaptive_classifier",
        slow=True,
        every=100,
        settings="its defaults",
    ),
    Entry(
        "SetFit, refitted",
        partial(Rival, "setfit"),
        environment="setfit",
        slow=True,
        every=125,
        least=125,
        settings="fitted again whenever the labels doubled and for the look at the end, at most "
        "200 steps of 16 pairs a fit",
    ),
)


def missing(entry: Entry) -> str | None:
    """Why a contestant cannot be entered here; None if it can."""
    absent = [name for name in entry.packages if find_spec(name) is None]
    return f"{', '.join(absent)} is not installed" if absent else None
