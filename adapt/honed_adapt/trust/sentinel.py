"""Watches over who teaches a model: sets aside what distrusted submitters say, judges the others.

It stands between the loop, or a benchmark, and a lane:

    kept, aside = sentinel.screen(rows)            # `aside` goes to quarantine
    lane.apply(kept)
    if sentinel.due(lane):
        for one in sentinel.review(lane):
            lane.remove(one.positions)             # to quarantine too
            sentinel.distrust(one.standing.submitter)

All that a distrusted submitter says is set aside, also what others bear out: of somebody who lies,
that is where the head errs in the same way, and counting it would confirm the errors.

No I/O, and no decision: the server decides and puts it on record, or a person in the settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from honed_adapt.instant.lane import Lane
from honed_adapt.instant.present import Row
from honed_adapt.trust.standing import Standing, standings

# A review costs a pass over all rows, so it waits until there are some and a tenth more of them.
_LEAST_NEW = 50
_GROWTH = 0.1


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A submitter whom the others' labels contradict.

    Attributes:
        standing: the numbers behind it.
        positions: their labels in effect, by log position.
    """

    standing: Standing
    positions: tuple[int, ...]


class Sentinel:
    """The watch over one model's submitters.

    Args:
        trusted: submitters who are never suspicious, by decree.
        distrusted: those who were found suspicious before.
    """

    def __init__(self, trusted: Collection[str] = (), distrusted: Iterable[str] = ()) -> None:
        self._trusted = frozenset(trusted)
        self._distrusted = set(distrusted) - self._trusted
        self._reviewed = 0

    def distrust(self, *submitters: str) -> None:
        """From now on labels of these do not count."""
        self._distrusted |= set(submitters) - self._trusted

    def screen(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Split arriving rows into those to learn and those to set aside."""
        kept = [row for row in rows if row.submitter not in self._distrusted]
        return kept, [row for row in rows if row.submitter in self._distrusted]

    def due(self, lane: Lane) -> bool:
        """Whether so much was learned since the last review that another makes sense."""
        most = self._reviewed + max(_LEAST_NEW, _GROWTH * self._reviewed)
        return lane.effective >= most

    def review(self, lane: Lane) -> list[Suspicion]:
        """Judge all submitters by what the others say."""
        rows = lane.in_effect
        self._reviewed = len(rows)
        return [
            Suspicion(
                standing,
                tuple(row.position for row in rows if row.submitter == standing.submitter),
            )
            for standing in standings(rows, self._trusted)
            if standing.suspicious or standing.submitter in self._distrusted
        ]
