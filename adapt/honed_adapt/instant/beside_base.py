"""What was learned, beside a user's own head: how it counts, and the head that serves both.

It stands inside `lane.py`, for models with an own head; `evidence.py` has the maths, and
`prequential.py` the votes. While what was learned does not count the own head serves as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.instant.calibration import HeldOut, Tuning
from honed_adapt.instant.discriminant import Floats
from honed_adapt.instant.evidence import Logits, Weighing, base_logits, combine
from honed_adapt.instant.prequential import Prequential
from honed_adapt.instant.present import PresentRows, arrays


class Beside:
    """The own head of one lane and its weight against what the rows teach.

    Args:
        base: the own head.
        present: the lane's rows; the caller tells of each change by `changed`.
        tuning: numbers of the lane's maths.

    Attributes:
        base: the own head.
    """

    def __init__(self, base: Head, present: PresentRows, tuning: Tuning) -> None:
        self.base = base
        self._present = present
        self._sample_rows = tuning.sample_rows
        self._prequential = Prequential(base, tuning)
        self._weighing: Weighing | None = None

    @property
    def weighing(self) -> Weighing:
        """How what was learned counts."""
        if self._weighing is None:
            self._weighing = self._prequential.weighing(self._present.in_log_order())
        return self._weighing

    def changed(self) -> None:
        """Take note that rows have come or gone."""
        self._weighing = None

    def logits(self, vectors: NDArray[np.float32], learned: Floats) -> Floats:
        """What serves says of vectors (rows, hidden): logits (rows, labels).

        Args:
            vectors: of texts.
            learned: what was learned says of them, over its temperature, (rows, labels); not asked
                while it does not count, when the labels are the own head's.
        """
        weight = self.weighing.weight
        if weight == 0:
            own: Floats = vectors.astype(np.float64) @ self.base.weight.T + self.base.bias
            return own
        labels = (*self.base.labels, *self._others())
        return self._own(labels).of(vectors) + weight * learned

    def held_out(self, learned: HeldOut) -> HeldOut:
        """Rows over the temperature of the head that serves both, as if they had not been learned.

        Args:
            learned: the rows of the sample that are not alone in their class, over the temperature
                of what was learned.
        """
        if not len(learned.targets):
            return learned
        sample = self._present.sample(self._sample_rows)
        counts = self._present.sums.classes([row.label for row in sample]).count
        vectors, _ = arrays([row for row, n in zip(sample, counts, strict=True) if n > 1])
        logits = self.logits(vectors, learned.logits) / self.weighing.temperature
        return replace(learned, logits=logits)

    def alone(self) -> HeldOut | None:
        """Rows of labels that the own head has over its temperature; None if there are none.

        That is what serves while what was learned does not count; it has learned none of them.
        """
        places = {label: at for at, label in enumerate(self.base.labels)}
        rows = [row for row in self._present.sample(self._sample_rows) if row.label in places]
        if not rows:
            return None
        vectors, weights = arrays(rows)
        logits = self.logits(vectors, np.empty(0)) / self.base.temperature
        return HeldOut(logits, np.array([places[row.label] for row in rows]), weights)

    def head(self, learned: Logits) -> Head:
        """The head that serves both, learned logits over their temperature."""
        return combine(self._own(learned.labels), learned, self.weighing)

    def _own(self, labels: tuple[str, ...]) -> Logits:
        vectors, _ = arrays(self._present.sample(self._sample_rows))
        return base_logits(self.base, labels, vectors)

    def _others(self) -> list[str]:
        return [name for name in self._present.labels() if name not in self.base.labels]
