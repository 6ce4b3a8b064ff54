"""Trials on record: which are open, what audits have said in them, how they ended.

Their tables are in registry.sqlite. A vote names the audit by its log position and holds no label:
whoever counts asks the feedback log what that label is and whether it still counts, so a label that
is deleted or retracted loses its vote.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import apsw

from honed_adapt.gate.paired import Paired
from honed_adapt.storage.sqlite import Database
from honed_server.models.registry import Registry, VersionState

# Sources of versions that somebody offered; version 1 is none, though it may be imported too.
_OFFERED = "source IN ('candidate', 'import') AND version > 1"

TrialKind = Literal["candidate", "watch"]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial on record.

    Attributes:
        trial: Its number.
        kind: "candidate": one on trial beside what serves; "watch": the version before, beside what
            was promoted over it.
        version: The rival: the candidate, or the version before.
        opponent: The version that served when it began.
        started: Unix seconds.
        first_position: Audits up to this log position do not vote.
        first_revision: Answers of older revisions of `opponent` are none of its.
        anchor: Paired answers to the anchor set at the first look.
        e_needed: Evidence that decides for the rival.
    """

    trial: int
    model: str
    kind: TrialKind
    version: int
    opponent: int
    started: float
    first_position: int
    first_revision: int
    anchor: Paired
    e_needed: float


@dataclass(frozen=True, slots=True)
class VoteRow:
    """What one audit said.

    Attributes:
        position: Its log position.
        serving_right, rival_right: Whether the one was right, and the other.
        counts: Whether it votes: if its submitter had their part of the votes it was never
            answered, see `honed_adapt.trust.votes`.
    """

    position: int
    serving_right: bool
    rival_right: bool
    counts: bool = True


class TrialBook:
    """Reads and writes trials; futures resolve when a write is on disk."""

    def __init__(self, registry: Registry) -> None:
        self._database: Database = registry.database

    def candidates(self, model: str) -> int:
        """How many candidates a model has had: each has cost a share of false promotions."""
        sql = f"SELECT count(*) FROM versions WHERE model = ? AND {_OFFERED}"
        return self._database.read(lambda db: int(db.execute(sql, (model,)).get))

    def open_trials(self) -> list[TrialRow]:
        """The trials that go on, of all models."""
        sql = "SELECT * FROM trials WHERE outcome = 'open'"
        return self._database.read(lambda db: [_row(row) for row in db.execute(sql)])

    def next_candidate(self, model: str) -> int:
        """The newest candidate of a model that was never on trial and could serve; 0 if none.

        Not one that is older than a candidate that was promoted: that one had learned more.
        """
        sql = f"""
            SELECT max(version) FROM versions v WHERE model = ? AND state = ?
            AND {_OFFERED} AND tainted_position = 0
            AND version NOT IN
            (SELECT version FROM trials t WHERE t.model = v.model AND kind = 'candidate')
            AND version > (SELECT coalesce(max(version), 0) FROM versions p
            WHERE p.model = v.model AND {_OFFERED} AND state IN (?, ?))
        """
        states = (VersionState.CANDIDATE, VersionState.ACTIVE, VersionState.RETIRED)
        bindings = (model, *map(int, states))
        return self._database.read(lambda db: int(db.execute(sql, bindings).get or 0))

    def write(self, turn: Callable[[apsw.Connection], None]) -> Future[None]:
        """Records what becomes of trials, see `turns.py`."""
        return self._database.write(turn)

    def add_votes(self, trial: int, votes: Sequence[VoteRow]) -> Future[None]:
        """Records what audits said; the first word of each counts."""

        def add(db: apsw.Connection) -> None:
            sql = "INSERT OR IGNORE INTO votes VALUES (?, ?, ?, ?, ?)"
            rows = [(trial, v.position, v.serving_right, v.rival_right, v.counts) for v in votes]
            db.executemany(sql, rows)

        return self._database.write(add)

    def votes(self, trial: int) -> list[VoteRow]:
        """What audits said in a trial, in log order."""
        sql = """
            SELECT position, serving_right, rival_right, counts FROM votes
            WHERE trial = ? ORDER BY position
        """
        return self._database.read(
            lambda db: [VoteRow(at, *map(bool, bits)) for at, *bits in db.execute(sql, (trial,))]
        )


def _row(row: tuple[Any, ...]) -> TrialRow:
    trial, model, kind, version, opponent, started, position, revision, *rest = row
    wins, losses, total, e_needed, _ = rest
    return TrialRow(
        trial, model, kind, version, opponent, started, position, revision,
        Paired(wins, losses, total), e_needed,
    )  # fmt: skip
