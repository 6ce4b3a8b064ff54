"""Turns of a trial: how it ends, and which one begins in its place.

A turn is recorded in one transaction, together with the version that begins to serve if one does:
after a crash no candidate is promoted on record only, and none serves unwatched.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import apsw

from honed_adapt.gate.paired import NO_ITEMS, Paired
from honed_adapt.gate.trials import Standing
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow, VersionRow, VersionState
from honed_server.models.registry_rows import record_decision
from honed_server.models.shelf import Shelf
from honed_server.trials.book import TrialRow


@dataclass(slots=True)
class Turn:
    """A trial that ends, and the one that begins in its place.

    Attributes:
        ends: The trial, if one goes on.
        outcome: How it ends, in one word.
        record: The decision; its votes go.
        refused: Whether its candidate is refused for good.
        begins: The trial that begins; the number in it means nothing.
        begun: That one as it is on record, once it is.
    """

    ends: TrialRow | None = None
    outcome: str = ""
    record: DecisionRow | None = None
    refused: bool = False
    begins: TrialRow | None = None
    begun: TrialRow | None = None

    def write(self, db: apsw.Connection) -> None:
        """Records it, in the transaction of the caller."""
        if self.ends is not None and self.record is not None:
            _end(db, self.ends, self.outcome, self.refused)
            record_decision(db, self.record)
        if self.begins is not None:
            self.begun = _begin(db, self.begins)


def _end(db: apsw.Connection, row: TrialRow, outcome: str, refused: bool) -> None:
    db.execute("UPDATE trials SET outcome = ? WHERE trial = ?", (outcome, row.trial))
    db.execute("DELETE FROM votes WHERE trial = ?", (row.trial,))
    if refused:
        sql = "UPDATE versions SET state = ? WHERE model = ? AND version = ?"
        db.execute(sql, (int(VersionState.REFUSED), row.model, row.version))


def _begin(db: apsw.Connection, row: TrialRow) -> TrialRow:
    db.execute(
        "INSERT INTO trials (model, kind, version, opponent, started, first_position,"
        " first_revision, anchor_wins, anchor_losses, anchor_total, e_needed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.model, row.kind, row.version, row.opponent, row.started, row.first_position,
            row.first_revision, row.anchor.wins, row.anchor.losses, row.anchor.total, row.e_needed,
        ),
    )  # fmt: skip
    return replace(row, trial=db.last_insert_rowid())


def ending(
    row: TrialRow,
    outcome: str,
    actor: str,
    reason: str,
    *,
    standing: Standing | None = None,
    refused: bool = False,
    numbers: Mapping[str, Any] = MappingProxyType({}),
) -> Turn:
    """A turn by which a trial ends, with the decision about it and more numbers for that."""
    record = decision(
        row.model, "trial", outcome,
        actor=actor, reason=reason, version=row.version,
        numbers={"trial": row.kind, **numbers, **(standing.numbers if standing else {})},
    )  # fmt: skip
    return Turn(row, outcome, record, refused)


def void(
    catalogue: Catalogue, shelf: Shelf, entry: Entry, row: TrialRow, version: VersionRow
) -> Turn | None:
    """How a trial ends that can come to nothing any more; None if it goes on.

    Args:
        catalogue: The models.
        shelf: Their versions.
        entry: The model.
        row: The trial.
        version: Its rival, as it is on record now.
    """
    name, state = f"version {version.version}", version.state
    if version.tainted_position or version.removed:
        reason = f"{name} was learned from feedback that is deleted"
        return ending(row, "tainted", "deletion", reason)
    if state is VersionState.DAMAGED:
        outcome = "refused" if row.kind == "candidate" else "damaged"
        return ending(row, outcome, "server", f"{name} is damaged")
    if row.kind == "watch":
        again = row.version == entry.row.active_version
        return ending(row, "superseded", "server", f"{name} serves again") if again else None
    if state is VersionState.CANDIDATE:
        return None
    if state is VersionState.REFUSED:
        return ending(row, "refused", "server", f"{name} is refused")
    turn = ending(row, "promoted", "server", f"{name} serves, or has served")
    if state is VersionState.ACTIVE:
        turn.begins = watch_trial(catalogue, entry, shelf.find(row.model, row.opponent), version)
    return turn


def candidate_trial(
    catalogue: Catalogue, entry: Entry, version: VersionRow, anchor: Paired, e_needed: float
) -> TrialRow:
    """The trial of a candidate beside what serves.

    Args:
        catalogue: The models.
        entry: The model.
        version: The candidate.
        anchor: Paired answers to the anchor set at the first look.
        e_needed: Evidence that promotes it.
    """
    return TrialRow(
        0, entry.row.name, "candidate", version.version, entry.row.active_version, time.time(),
        first_position=max(entry.log_position, version.log_position),
        first_revision=catalogue.serving(entry.row.name).revision,
        anchor=anchor, e_needed=e_needed,
    )  # fmt: skip


def watch_trial(
    catalogue: Catalogue, entry: Entry, before: VersionRow, promoted: VersionRow
) -> TrialRow | None:
    """The watch over what is promoted; None if the version before could not serve again."""
    if not before.num_labels or before.tainted_position or before.version == promoted.version:
        return None
    return TrialRow(
        0, entry.row.name, "watch", before.version, promoted.version, time.time(),
        first_position=max(entry.log_position, before.log_position),
        first_revision=promoted.log_position,
        anchor=NO_ITEMS, e_needed=1 / catalogue.policies.of(entry.row.name).alpha,
    )  # fmt: skip
