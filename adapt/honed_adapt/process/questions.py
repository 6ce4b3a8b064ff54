"""What the server asks the adapt process about a model's labels, and what it hears back.

They travel as the other messages do (`messages.py`); `answers.py` answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.insight.explain import Reason
from honed_adapt.insight.noise import Doubt
from honed_adapt.trust.standing import Standing


@dataclass(frozen=True, slots=True, eq=False)
class Explain:
    """Which labels are behind an answer?

    Attributes:
        number: repeated by the answer.
        label: the one to explain.
        count: at most so many labels in each list.
        vector: of the text, float32 (hidden,).
    """

    number: int
    model: str
    label: str
    count: int
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Suspect:
    """Which labels, at most `count`, do the others not bear out, and what are submitters worth?"""

    number: int
    model: str
    count: int


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer to `Explain`.

    Attributes:
        fault: why there is no answer; empty if there is.
        influential: labels that moved the answer most, by size.
        nearest: labels whose texts are nearest.
    """

    number: int
    fault: str = ""
    influential: tuple[Reason, ...] = ()
    nearest: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspected:
    """The answer to `Suspect`.

    Attributes:
        fault: why there is no answer; empty if there is.
        doubts: the labels, worst first.
        standings: of the submitters, most weight first.
    """

    number: int
    fault: str = ""
    doubts: tuple[Doubt, ...] = ()
    standings: tuple[Standing, ...] = ()


Question = Explain | Suspect
Reply = Explained | Suspected
