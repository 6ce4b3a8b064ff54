"""What one model's instant lane says: of texts, of its own rows, and how far that can be trusted.

It stands inside `lane.py`, which is the part that learns. Nothing here changes what was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.instant.beside_base import Beside
from honed_adapt.instant.calibration import HeldOut, Tuning
from honed_adapt.instant.discriminant import Floats, Solution
from honed_adapt.instant.evidence import ALONE, Logits, Weighing
from honed_adapt.instant.experts import Experts
from honed_adapt.instant.present import PresentRows, Row


class Taught:
    """What rows teach, weighed beside a base where there is one.

    Args:
        hidden: length of a vector.
        base: the head that what is learned is added to, None if there is none.
        trust: trust by submitter; others have 1.
        tuning: numbers of the maths.
        tuned: whether a round tuned the encoder.
    """

    def __init__(
        self,
        hidden: int,
        base: Head | None,
        trust: Mapping[str, float],
        tuning: Tuning,
        tuned: bool,
    ) -> None:
        self.hidden = hidden
        self._present = PresentRows(hidden, trust, tuned=tuned)
        self._experts = Experts(self._present, tuning, () if base is None else base.labels)
        self._beside = None if base is None else Beside(base, self._present, tuning)
        self._temperature: float | None = None

    @property
    def effective(self) -> int:
        """How many rows count: one per text."""
        return len(self._present.standing)

    @property
    def in_effect(self) -> list[Row]:
        """The rows that count, in log order."""
        return self._present.in_log_order()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of `held_out`, in order."""
        return self._experts.labels

    @property
    def weighing(self) -> Weighing:
        """How what was learned counts beside the base."""
        return ALONE if self._beside is None else self._beside.weighing

    @property
    def solution(self) -> Solution | None:
        """The discriminant that the rows alone teach, before rounding; None without rows.

        The base's labels come first; others in the order of their smallest position in effect.
        """
        return self._experts.solution if self._present.standing else None

    @property
    def learned(self) -> Logits | None:
        """What the rows alone teach, over the temperature, before rounding; None without rows."""
        if not self._present.standing:
            return None
        return self._experts.logits().over(self.temperature).raised(self._experts.prior)

    @property
    def temperature(self) -> float:
        """What the logits of what was learned are divided by; there must be rows."""
        if self._temperature is None:
            self._temperature = self._experts.temperature()
        return self._temperature

    def unknown_audits(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows, yet to be learned, that may say how good the lane's answers are."""
        return self._present.unknown_audits(rows)

    def held_out(self, rows: Sequence[Row]) -> HeldOut:
        """Logits of rows in effect as if they had not been learned, over the temperature."""
        return self._experts.held_out(rows).served(self.temperature, self._experts.prior)

    @property
    def sampled(self) -> HeldOut | None:
        """Rows over the temperature of the head that serves, scored as if they were not learned.

        They are those that temperatures are found on. None without rows.
        """
        if not self._present.standing:
            return None
        if self._beside is not None and self.weighing.weight == 0:
            return self._beside.alone()
        temperature, found = self.temperature, self._experts.sampled
        assert found is not None, "the temperature was found on it"
        if self._beside is not None:
            return self._beside.held_out(found.served(temperature, np.zeros(len(self.labels))))
        return found.served(temperature, self._experts.prior)

    def influence(self, rows: Sequence[Row], vector: NDArray[np.float32], label: str) -> Floats:
        """How much each row raises the logit of a label for a text, (rows,); in closed form.

        Against the mean of all labels, since a constant added to all changes no answer.

        Args:
            rows: in effect.
            vector: of the text, float32 (hidden,).
            label: which; of one that nothing was learned of no row raises the logit.
        """
        labels = self._experts.labels
        if not rows or label not in labels:
            return np.zeros(len(rows))
        moved = self._experts.moved(rows, vector)
        raised: Floats = moved[:, labels.index(label)] - moved.mean(axis=1)
        return raised * self.weighing.weight / self.temperature
