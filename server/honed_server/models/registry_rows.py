"""The tables of registry.sqlite, and their rows as values.

Under `registry.py`, which writes them; everyone else only knows the values.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import apsw

from honed_adapt.encoders.precision import Evidence
from honed_adapt.encoders.store import Precision

# What is written in the transaction of something else.
WithIt = Callable[[apsw.Connection], None]

SCHEMA = (
    """
    CREATE TABLE models (
        name TEXT PRIMARY KEY, encoder_digest TEXT NOT NULL, created REAL NOT NULL,
        deleted INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0,
        pin_version INTEGER NOT NULL DEFAULT 0, pin_revision INTEGER NOT NULL DEFAULT 0,
        suspect_from INTEGER NOT NULL DEFAULT 0, suspect_to INTEGER NOT NULL DEFAULT 0,
        closed_labels INTEGER NOT NULL, declared_labels TEXT NOT NULL,
        active_version INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE versions (
        model TEXT NOT NULL, version INTEGER NOT NULL, state INTEGER NOT NULL,
        parent INTEGER NOT NULL, encoder_digest TEXT NOT NULL, log_position INTEGER NOT NULL,
        num_labels INTEGER NOT NULL, created REAL NOT NULL, source TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL, decision_id TEXT NOT NULL,
        tainted_position INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (model, version)
    ) STRICT;
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
        kind TEXT NOT NULL, outcome TEXT NOT NULL, version INTEGER NOT NULL, actor TEXT NOT NULL,
        reason TEXT NOT NULL, numbers TEXT NOT NULL, time REAL NOT NULL
    ) STRICT;
    CREATE INDEX decisions_of_model ON decisions (model, number);
    CREATE TABLE label_sets (
        model TEXT NOT NULL, number INTEGER NOT NULL, labels TEXT NOT NULL,
        PRIMARY KEY (model, number)
    ) STRICT;
    """,
    "ALTER TABLE models ADD COLUMN own_head_version INTEGER NOT NULL DEFAULT 0;",
    """
    ALTER TABLE models ADD COLUMN integers_encoder TEXT NOT NULL DEFAULT '';
    ALTER TABLE models ADD COLUMN integers TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE policies (model TEXT PRIMARY KEY, policy TEXT NOT NULL) STRICT;
    CREATE TABLE trials (
        trial INTEGER PRIMARY KEY, model TEXT NOT NULL, kind TEXT NOT NULL,
        version INTEGER NOT NULL, opponent INTEGER NOT NULL, started REAL NOT NULL,
        first_position INTEGER NOT NULL, first_revision INTEGER NOT NULL,
        anchor_wins INTEGER NOT NULL, anchor_losses INTEGER NOT NULL, anchor_total INTEGER NOT NULL,
        e_needed REAL NOT NULL, outcome TEXT NOT NULL DEFAULT 'open'
    ) STRICT;
    CREATE UNIQUE INDEX open_trials ON trials (model) WHERE outcome = 'open';
    CREATE TABLE votes (
        trial INTEGER NOT NULL, position INTEGER NOT NULL, serving_right INTEGER NOT NULL,
        rival_right INTEGER NOT NULL, PRIMARY KEY (trial, position)
    ) STRICT;
    """,
    "ALTER TABLE versions ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;",
    """
    CREATE TABLE rounds (
        number INTEGER PRIMARY KEY, round_id TEXT NOT NULL UNIQUE, models TEXT NOT NULL,
        state INTEGER NOT NULL, kind TEXT NOT NULL, trigger TEXT NOT NULL, created REAL NOT NULL,
        seed INTEGER NOT NULL, trials INTEGER NOT NULL, base_encoder TEXT NOT NULL,
        encoder_digest TEXT NOT NULL, versions TEXT NOT NULL, ended REAL NOT NULL,
        reason TEXT NOT NULL, metrics TEXT NOT NULL
    ) STRICT;
    """,
    "ALTER TABLE votes ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;",
)


# The own head behind a version is the last that was imported over its encoder and has served.
FOLLOW_OWN_HEAD = """
    UPDATE models SET own_head_version = coalesce((
        SELECT max(own.version) FROM versions own
        JOIN versions active USING (model, encoder_digest)
        WHERE model = ? AND active.version = ? AND own.version <= ? AND own.source = 'import'
        AND own.state IN (2, 3)
    ), own_head_version) WHERE name = ?
"""


class VersionState(IntEnum):
    """Where a version stands; the numbers of the proto's VersionState."""

    CANDIDATE = 1
    ACTIVE = 2
    RETIRED = 3
    REFUSED = 4
    DAMAGED = 5


class ModelExists(Exception):
    """The name is or was in use; choose another."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model on record.

    Attributes:
        pin_version, pin_revision: What serves while learning is paused.
        suspect_from, suspect_to: Log range under suspicion after a rollback, 0 if none.
        declared_labels: The only labels accepted if `closed_labels`.
        own_head_version: Version with the head that it was imported with, 0 if it started empty.
        integers_encoder: Encoder whose integer form was tried last, empty if none was.
        integers: What was found then.
    """

    name: str
    encoder_digest: str
    created: float
    deleted: bool
    paused: bool
    pin_version: int
    pin_revision: int
    suspect_from: int
    suspect_to: int
    closed_labels: bool
    declared_labels: tuple[str, ...]
    active_version: int
    own_head_version: int
    integers_encoder: str
    integers: Evidence | None

    def precision(self, encoder_digest: str) -> Precision:
        """How to answer over that encoder: in integers only where that was shown to hold."""
        tried = self.evidence(encoder_digest)
        return "int8" if tried is not None and tried.holds else "fp32"

    def evidence(self, encoder_digest: str) -> Evidence | None:
        """What was found about integers over that encoder."""
        return self.integers if encoder_digest == self.integers_encoder else None

    @property
    def pinned_at(self) -> int:
        """Log position at which learning was paused, 0 while it is not.

        A version that was learned from what had been deleted by then could not be rolled back to.
        """
        return max(self.pin_revision, self.suspect_to) if self.paused else 0


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version on record; its files are in `models/<model>/versions/<version>/`.

    Attributes:
        tainted_position: Log position of the deletion of feedback that it was learned from, or 0.
        removed: Whether its files are gone, since it was learned from what was deleted.
    """

    model: str
    version: int
    state: VersionState
    parent: int
    encoder_digest: str
    log_position: int
    num_labels: int
    created: float
    source: str
    manifest_sha256: str
    decision_id: str
    tainted_position: int
    removed: bool = False


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision on record, with the numbers behind it."""

    decision_id: str
    model: str
    kind: str
    outcome: str
    version: int
    actor: str
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Pins:
    """How a rollback holds a model: at a version and revision, with the log range suspected."""

    version: int
    revision: int
    suspect_from: int = 0
    suspect_to: int = 0


def find(db: apsw.Connection, name: str) -> ModelRow | None:
    """A model's row, None if the name was never used."""
    for row in db.execute("SELECT * FROM models WHERE name = ?", (name,)):
        return model_row(row)
    return None


def row_of(db: apsw.Connection, name: str) -> ModelRow:
    """The row of a model that is on record."""
    row = find(db, name)
    assert row is not None, "a model is recorded before anything is decided about it"
    return row


def model_row(row: tuple[Any, ...]) -> ModelRow:
    """A row of `models` as a value."""
    name, digest, created, deleted, paused, *rest = row
    pin_version, pin_revision, suspect_from, suspect_to, closed, declared, active, own, *last = rest
    integers_encoder, integers = last
    return ModelRow(
        name, digest, created, bool(deleted), bool(paused), pin_version, pin_revision,
        suspect_from, suspect_to, bool(closed), tuple(json.loads(declared)), active, own,
        integers_encoder, Evidence(**json.loads(integers)) if integers else None,
    )  # fmt: skip


def version_row(row: tuple[Any, ...]) -> VersionRow:
    """A row of `versions` as a value."""
    model, version, state, parent, digest, position, labels, created, *rest = row
    source, sha256, decision_id, tainted, removed = rest
    return VersionRow(
        model, version, VersionState(state), parent, digest, position, labels, created,
        source, sha256, decision_id, tainted, bool(removed),
    )  # fmt: skip


def versions_over(db: apsw.Connection, model: str, digests: Collection[str]) -> list[VersionRow]:
    """The versions with files of one model, and those of all others over certain encoders.

    Args:
        db: The registry.
        model: Whose versions are wanted whatever their encoder.
        digests: The encoders.
    """
    sql = """
        SELECT v.* FROM versions v JOIN models m ON m.name = v.model
        WHERE NOT m.deleted AND NOT v.removed
            AND (v.model = ? OR v.encoder_digest IN (SELECT value FROM json_each(?)))
        ORDER BY v.model != ?, v.model, v.version
    """
    bindings = (model, json.dumps(sorted(digests)), model)
    return [version_row(row) for row in db.execute(sql, bindings)]


def decision_row(row: tuple[Any, ...]) -> DecisionRow:
    """A row of `decisions` as a value."""
    _, decision_id, model, kind, outcome, version, actor, reason, numbers, when = row
    return DecisionRow(
        decision_id, model, kind, outcome, version, actor, reason, json.loads(numbers), when
    )


def nothing(_: apsw.Connection) -> None:
    """Writes nothing else."""


def insert_version(db: apsw.Connection, row: VersionRow) -> None:
    """Records a version."""
    values = (
        row.model, row.version, int(row.state), row.parent, row.encoder_digest, row.log_position,
        row.num_labels, row.created, row.source, row.manifest_sha256, row.decision_id,
        row.tainted_position, int(row.removed),
    )  # fmt: skip
    db.execute(f"INSERT INTO versions VALUES ({','.join('?' * len(values))})", values)


def record_decision(db: apsw.Connection, decision: DecisionRow) -> None:
    """One decision may stand behind several writes; it is recorded once."""
    db.execute(
        "INSERT OR IGNORE INTO decisions (decision_id, model, kind, outcome, version, actor,"
        " reason, numbers, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            decision.decision_id, decision.model, decision.kind, decision.outcome,
            decision.version, decision.actor, decision.reason,
            json.dumps(dict(decision.numbers), allow_nan=False), decision.time,
        ),
    )  # fmt: skip
