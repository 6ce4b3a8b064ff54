"""What is on record about models: versions, the active pointer, label sets, and every decision.

registry.sqlite is the commit point of the server's decisions: what serves after a crash is what
stands here. Writes go through one writer thread and are durable when their future resolves.
"""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import apsw

from honed_adapt.sqlite import Database

_SCHEMA = (
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
)


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


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version on record; its files are in `models/<model>/versions/<version>/`."""

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


class Registry:
    """The registry of one server. Reads answer at once; writes return futures.

    Raises:
        StoreError: The file cannot be opened soundly; futures carry the same family.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def models(self) -> list[ModelRow]:
        """All models ever created, deleted ones included, by name."""
        return self._database.read(
            lambda db: [_model(row) for row in db.execute("SELECT * FROM models ORDER BY name")]
        )

    def model(self, name: str) -> ModelRow | None:
        """One model, deleted or not."""
        return self._database.read(lambda db: _find(db, name))

    def versions(self, model: str) -> list[VersionRow]:
        """The versions of a model in order of number."""
        sql = "SELECT * FROM versions WHERE model = ? ORDER BY version"
        return self._database.read(lambda db: [_version(row) for row in db.execute(sql, (model,))])

    def next_version(self, model: str) -> int:
        """The number that the next version of a model gets."""
        sql = "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE model = ?"
        return self._database.read(lambda db: int(db.execute(sql, (model,)).get))

    def decisions(self, model: str, limit: int) -> list[DecisionRow]:
        """The newest decisions about a model, at most `limit`, oldest first."""
        sql = "SELECT * FROM decisions WHERE model = ? ORDER BY number DESC LIMIT ?"
        return self._database.read(
            lambda db: [_decision(row) for row in db.execute(sql, (model, limit))][::-1]
        )

    def create_model(
        self,
        name: str,
        encoder_digest: str,
        *,
        closed_labels: bool,
        declared_labels: tuple[str, ...],
    ) -> Future[ModelRow]:
        """Records a new model; the future raises ModelExists if the name was ever used."""

        def create(db: apsw.Connection) -> ModelRow:
            if (old := _find(db, name)) is not None:
                state = "was deleted; its name is not free again" if old.deleted else "exists"
                raise ModelExists(f"model {name!r} {state}; choose another name")
            db.execute(
                "INSERT INTO models (name, encoder_digest, created, closed_labels,"
                " declared_labels) VALUES (?, ?, ?, ?, ?)",
                (name, encoder_digest, time.time(), closed_labels, json.dumps(declared_labels)),
            )
            return _row(db, name)

        return self._database.write(create)

    def delete_model(self, name: str, decision: DecisionRow) -> Future[None]:
        """Records that a model is gone for good."""

        def delete(db: apsw.Connection) -> None:
            db.execute("UPDATE models SET deleted = 1 WHERE name = ?", (name,))
            _record(db, decision)

        return self._database.write(delete)

    def add_version(self, row: VersionRow, decision: DecisionRow) -> Future[None]:
        """Records a version whose files are written and verified, with its decision."""

        def add(db: apsw.Connection) -> None:
            values = (
                row.model, row.version, int(row.state), row.parent, row.encoder_digest,
                row.log_position, row.num_labels, row.created, row.source, row.manifest_sha256,
                row.decision_id, row.tainted_position,
            )  # fmt: skip
            db.execute(f"INSERT INTO versions VALUES ({','.join('?' * len(values))})", values)
            _record(db, decision)

        return self._database.write(add)

    def activate(
        self, model: str, version: int, decision: DecisionRow, pins: Pins | None = None
    ) -> Future[ModelRow]:
        """Moves the active pointer: the commit point of every promotion and rollback.

        Args:
            model: Whose.
            version: Recorded version that serves from now on.
            decision: Why.
            pins: Given by a rollback: learning is paused there.
        """

        def move(db: apsw.Connection) -> ModelRow:
            state = "UPDATE versions SET state = ? WHERE model = ? AND"
            retired, active = int(VersionState.RETIRED), int(VersionState.ACTIVE)
            db.execute(f"{state} state = ?", (retired, model, active))
            db.execute(f"{state} version = ?", (active, model, version))
            db.execute(
                "UPDATE models SET active_version = ?, encoder_digest = (SELECT encoder_digest"
                " FROM versions WHERE model = ? AND version = ?) WHERE name = ?",
                (version, model, version, model),
            )
            if pins is not None:
                _pin(db, model, pins)
            _record(db, decision)
            return _row(db, model)

        return self._database.write(move)

    def pause(self, model: str, decision: DecisionRow, pins: Pins) -> Future[ModelRow]:
        """Records that learning stops at what serves."""

        def pause(db: apsw.Connection) -> ModelRow:
            _pin(db, model, pins)
            _record(db, decision)
            return _row(db, model)

        return self._database.write(pause)

    def resume(self, model: str, decision: DecisionRow) -> Future[ModelRow]:
        """Records that learning goes on and nothing is under suspicion any more."""

        def resume(db: apsw.Connection) -> ModelRow:
            _pin(db, model, Pins(0, 0), paused=False)
            _record(db, decision)
            return _row(db, model)

        return self._database.write(resume)

    def set_version_state(
        self, model: str, version: int, state: VersionState, decision: DecisionRow
    ) -> Future[None]:
        """Records what became of a version."""

        def change(db: apsw.Connection) -> None:
            sql = "UPDATE versions SET state = ? WHERE model = ? AND version = ?"
            db.execute(sql, (int(state), model, version))
            _record(db, decision)

        return self._database.write(change)

    def taint(self, model: str, from_position: int, deletion_position: int) -> Future[list[int]]:
        """Marks the versions that had learned what was deleted; returns their numbers.

        Args:
            model: Whose.
            from_position: Lowest log position that was deleted.
            deletion_position: Log position of the deletion.
        """
        where = "model = ? AND log_position >= ? AND tainted_position = 0"

        def taint(db: apsw.Connection) -> list[int]:
            bindings = (model, from_position)
            sql = f"SELECT version FROM versions WHERE {where} ORDER BY version"
            numbers = [int(row[0]) for row in db.execute(sql, bindings)]
            sql = f"UPDATE versions SET tainted_position = ? WHERE {where}"
            db.execute(sql, (deletion_position, *bindings))
            return numbers

        return self._database.write(taint)

    def record(self, decision: DecisionRow) -> Future[None]:
        """Records a decision that changes nothing else."""
        return self._database.write(lambda db: _record(db, decision))

    def label_set_number(self, model: str, labels: tuple[str, ...]) -> Future[int]:
        """The number of a label set: the newest one if it is the same, else the next."""
        text = json.dumps(labels)

        def number(db: apsw.Connection) -> int:
            sql = "SELECT number, labels FROM label_sets WHERE model = ? ORDER BY number DESC"
            newest = next(iter(db.execute(f"{sql} LIMIT 1", (model,))), (0, None))
            if newest[1] == text:
                return int(newest[0])
            following = int(newest[0]) + 1
            db.execute("INSERT INTO label_sets VALUES (?, ?, ?)", (model, following, text))
            return following

        return self._database.write(number)


def _pin(db: apsw.Connection, model: str, pins: Pins, *, paused: bool = True) -> None:
    db.execute(
        "UPDATE models SET paused = ?, pin_version = ?, pin_revision = ?, suspect_from = ?,"
        " suspect_to = ? WHERE name = ?",
        (paused, pins.version, pins.revision, pins.suspect_from, pins.suspect_to, model),
    )


def _record(db: apsw.Connection, decision: DecisionRow) -> None:
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


def _find(db: apsw.Connection, name: str) -> ModelRow | None:
    for row in db.execute("SELECT * FROM models WHERE name = ?", (name,)):
        return _model(row)
    return None


def _row(db: apsw.Connection, name: str) -> ModelRow:
    row = _find(db, name)
    assert row is not None, "a model is recorded before anything is decided about it"
    return row


def _model(row: tuple[Any, ...]) -> ModelRow:
    name, digest, created, deleted, paused, *pins, closed, declared, active = row
    flags = (bool(deleted), bool(paused))
    labels = tuple(json.loads(declared))
    return ModelRow(name, digest, created, *flags, *_four(pins), bool(closed), labels, active)


def _four(pins: Sequence[Any]) -> tuple[int, int, int, int]:
    version, revision, suspect_from, suspect_to = pins
    return version, revision, suspect_from, suspect_to


def _version(row: tuple[Any, ...]) -> VersionRow:
    model, version, state, parent, digest, position, labels, created, *rest = row
    source, sha256, decision_id, tainted = rest
    return VersionRow(
        model, version, VersionState(state), parent, digest, position, labels, created,
        source, sha256, decision_id, tainted,
    )  # fmt: skip


def _decision(row: tuple[Any, ...]) -> DecisionRow:
    _, decision_id, model, kind, outcome, version, actor, reason, numbers, when = row
    return DecisionRow(
        decision_id, model, kind, outcome, version, actor, reason, json.loads(numbers), when
    )
