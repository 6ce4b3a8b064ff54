"""In which order rows wait: bulk behind interactive, and tenants with equal shares.

It stands inside the queue of `batcher.py`. There is a line for each priority. A row gets its place
in it when it arrives: the virtual time at which its tenant's share would let it begin (start-time
fair queueing, Goyal et al., 1996). That time also goes on by itself, as in WF2Q+ (Bennett and
Zhang, 1997), so that no row waits for ever behind tenants that keep appearing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from honed_server.serving.batcher import Batch, Row

    # Place, order of arrival (no two are equal), seconds of work, and the row.
    Entry = tuple[float, int, float, Row]

# Of the engine's time, what bulk gets while interactive requests could use all of it.
BULK_SHARE = 0.1
# Weight of the newest batch in the running speed of a line, and the least that is believed of it.
_NEWEST, _SLOWEST = 0.05, 0.02


class Priority(Enum):
    """Whether somebody waits."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(slots=True)
class _Tenant:
    """A tenant with rows in line: how many, and the place that its next one gets."""

    next_place: float
    rows: int = 0


class FairLine:
    """Rows of one priority in the order in which they are to be computed.

    Attributes:
        tokens: Tokens in line.
        work_s: Predicted seconds of one worker for all that is in line.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._tenants: dict[str, _Tenant] = {}
        self._virtual = 0.0
        self._seen = 0.0
        self._speed = 1.0
        self._arrivals = 0
        self.tokens = 0
        self.work_s = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Row]:
        return (row for _, _, _, row in self._entries)

    def add(self, row: Row, work_s: float) -> None:
        """Gives a row its place; a tenant's rows stay in their order."""
        name = row.request.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(self._virtual)
        place = max(tenant.next_place, self._virtual)
        tenant.next_place, tenant.rows = place + work_s, tenant.rows + 1
        insort(self._entries, (place, self._arrivals, work_s, row))
        self._arrivals += 1
        self.tokens += row.ids.size
        self.work_s += work_s

    def remove(self, first: int, keep: Collection[Row]) -> None:
        """Takes the first so many rows out, but for those that keep their place.

        Args:
            first: Rows from the front that were looked at.
            keep: Those of them that stay.
        """
        seen = self._entries[:first]
        staying = {id(row) for row in keep}
        gone = [entry for entry in seen if id(entry[3]) not in staying]
        if not gone:
            return
        work_s = sum(entry[2] for entry in gone)
        self._virtual = max(self._virtual + work_s / len(self._tenants), gone[0][0])
        self._entries[:first] = [entry for entry in seen if id(entry[3]) in staying]
        for _, _, _, row in gone:
            self._leave(row)
        self.work_s = self.work_s - work_s if self._entries else 0.0

    def clear(self) -> list[Row]:
        """Takes all rows out and returns them in order of arrival."""
        rows = [row for _, _, _, row in sorted(self._entries, key=lambda entry: entry[1])]
        self.remove(len(rows), ())
        return rows

    def ahead_s(self, tenant: str, work_s: float) -> float:
        """Predicted seconds of one worker for the rows that go before the last of new ones.

        Args:
            tenant: Whose rows they would be.
            work_s: Seconds of work that they are.
        """
        known = self._tenants.get(tenant)
        start = max(known.next_place, self._virtual) if known else self._virtual
        # Counting is enough: what rows cost on average is near what those ahead cost.
        before = bisect_left(self._entries, (start + work_s,)) / max(len(self._entries), 1)
        # Others will come and go first: time in the line goes on as slowly as it did of late.
        virtual_s = (start + work_s - self._virtual) / self._speed - work_s
        return max(self.work_s * before, virtual_s)

    def passed(self, work_s: float) -> None:
        """Learns how fast the line moves while the engine does so many seconds of work."""
        speed = (self._virtual - self._seen) / work_s if self._entries else 1.0
        self._speed += _NEWEST * (min(max(speed, _SLOWEST), 1.0) - self._speed)
        self._seen = self._virtual

    def _leave(self, row: Row) -> None:
        self.tokens -= row.ids.size
        tenant = self._tenants[row.request.tenant]
        tenant.rows -= 1
        # Its next row would begin no earlier than now anyway.
        if not tenant.rows:
            del self._tenants[row.request.tenant]


class Lines:
    """The rows of both priorities, and whose turn it is."""

    def __init__(self) -> None:
        self._lines = {priority: FairLine() for priority in Priority}
        self._interactive = self._lines[Priority.INTERACTIVE]
        self._bulk = self._lines[Priority.BULK]
        self._owed_s = 0.0  # to bulk, in seconds of work

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._interactive.tokens + self._bulk.tokens

    def add(self, row: Row, work_s: float) -> None:
        """Puts a row, work of so many seconds, in the line of its priority."""
        self._lines[row.request.priority].add(row, work_s)

    def first(self) -> FairLine:
        """The line whose turn it is; empty only if both are."""
        bulk_goes = self._bulk and (not self._interactive or self._owed_s > 0)
        return self._bulk if bulk_goes else self._interactive

    def remove(self, line: FairLine, batch: Batch) -> None:
        """Takes out of a line what a batch does not keep, and accounts for its work."""
        contended = len(self._bulk) > 0 and len(self._interactive) > 0
        line.remove(batch.looked_at, batch.keep)
        if not batch.rows:
            return
        if contended:
            part = BULK_SHARE - 1 if line is self._bulk else BULK_SHARE
            self._owed_s += part * batch.predicted_s
        for each in self._lines.values():
            each.passed(batch.predicted_s)

    def clear(self) -> list[Row]:
        """Takes all rows out."""
        return self._interactive.clear() + self._bulk.clear()

    def ahead_s(self, priority: Priority, tenant: str, work_s: float) -> float:
        """As `FairLine.ahead_s`; bulk goes behind all that is interactive."""
        if not self:
            return 0.0
        ahead_s = self._lines[priority].ahead_s(tenant, work_s)
        return ahead_s + (self._interactive.work_s if priority is Priority.BULK else 0.0)
