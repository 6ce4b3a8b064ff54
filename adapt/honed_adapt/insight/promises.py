"""What a head promises beside its answers: when a text is out of scope, and what its sets hold.

It stands between the lane and the offer. Both thresholds are found on the rows that the temperature
is found on, each scored as if it had not been learned. Sets follow audits on top (`conformal.py`):
whether the set served at the time held an audit's label is noted before the audit is learned, by
log position, and goes when the audit goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from honed_adapt.head import Head
from honed_adapt.insight import conformal, open_set
from honed_adapt.insight.scores import UNKNOWN, calibration, softmax
from honed_adapt.instant.calibration import HeldOut
from honed_adapt.instant.present import Row, arrays
from honed_adapt.scoring import logits_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model's policy wants.

    Attributes:
        false_alarms: share of known texts that may be called out of scope, in (0, 1).
        coverage: share of sets that shall hold the right label, in (0, 1).
    """

    false_alarms: float = open_set.FALSE_ALARMS
    coverage: float = conformal.COVERAGE


class Promises:
    """Those of one model.

    Args:
        misses: by log position of an audit, whether the set served at that time lacked its label.
    """

    def __init__(self, misses: Mapping[int, bool] | None = None) -> None:
        self.misses = dict(misses or {})
        self._served: Head | None = None
        self.calibration = UNKNOWN

    def test(self, rows: Sequence[Row]) -> dict[int, bool]:
        """Note whether the sets that serve hold the labels of audits; before they are learned.

        Args:
            rows: of texts that what serves has not learned, which are `Lane.unknown_audits`: its
                sets hold those by heart, and would be made too small for others.

        Returns:
            What was noted, to be kept.
        """
        head = self._served
        audits = [row for row in rows if row.votes]
        if head is None or head.conformal is None or not audits:
            return {}
        of_rows = softmax(logits_of(head, arrays(audits)[0]), head.temperature)
        places = {label: at for at, label in enumerate(head.labels)}
        noted: dict[int, bool] = {}
        for row, odds in zip(audits, of_rows, strict=True):
            place = places.get(row.label)
            held = place is not None and odds[place] >= min(head.conformal, float(odds.max()))
            noted[row.position] = not held
        self.misses |= noted
        return noted

    def forget(self, positions: Iterable[int]) -> None:
        """Forget audits that are no more."""
        for position in positions:
            self.misses.pop(position, None)

    def add(self, head: Head, held_out: HeldOut | None, wanted: Wanted) -> Head:
        """Return the head with what it promises, to be served.

        Args:
            head: what the lane says.
            held_out: logits of rows over the head's temperature as if they had not been learned,
                from a head on the same scale; None if there are none.
            wanted: see `Wanted`.
        """
        if held_out is None or not len(held_out.targets):
            self._served, self.calibration = head, UNKNOWN
            return head
        odds = softmax(held_out.logits)
        self.calibration = calibration(odds, held_out.targets, held_out.weights)
        strange = open_set.held_out_scores(head, held_out)
        level = conformal.level(wanted.coverage, self.misses.values())
        own = odds[np.arange(len(odds)), held_out.targets]
        self._served = replace(
            head,
            threshold=open_set.threshold(strange, held_out.weights, wanted.false_alarms),
            conformal=conformal.least_probability(own, level, wanted.coverage),
        )
        return self._served
