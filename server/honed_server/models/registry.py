"""What is on record about models: versions, the active pointer, label sets, and every decision.

registry.sqlite is the commit point of the server's decisions: what serves after a crash is what
stands here. Writes go through one writer thread and are durable when their future resolves.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path

import apsw

from honed_adapt.encoders.precision import Evidence
from honed_adapt.storage.sqlite import Database
from honed_server.models.registry_rows import (
    FOLLOW_OWN_HEAD,
    SCHEMA,
    DecisionRow,
    ModelExists,
    ModelRow,
    Pins,
    VersionRow,
    VersionState,
    WithIt,
    decision_row,
    find,
    insert_version,
    model_row,
    nothing,
    record_decision,
    row_of,
    version_row,
)

__all__ = [
    "DecisionRow",
    "ModelExists",
    "ModelRow",
    "Pins",
    "Registry",
    "VersionRow",
    "VersionState",
]


class Registry:
    """The registry of one server. Reads answer at once; writes return futures.

    Raises:
        StoreError: The file cannot be opened soundly; futures carry the same family.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)

    @property
    def database(self) -> Database:
        """The file itself, for those whose tables are in it too: policies and trials."""
        return self._database

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def models(self) -> list[ModelRow]:
        """All models ever created, deleted ones included, by name."""
        return self._database.read(
            lambda db: [model_row(row) for row in db.execute("SELECT * FROM models ORDER BY name")]
        )

    def model(self, name: str) -> ModelRow | None:
        """One model, deleted or not."""
        return self._database.read(lambda db: find(db, name))

    def versions(self, model: str) -> list[VersionRow]:
        """The versions of a model in order of number."""
        sql = "SELECT * FROM versions WHERE model = ? ORDER BY version"
        return self._database.read(
            lambda db: [version_row(row) for row in db.execute(sql, (model,))]
        )

    def next_version(self, model: str) -> int:
        """The number that the next version of a model gets."""
        sql = "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE model = ?"
        return self._database.read(lambda db: int(db.execute(sql, (model,)).get))

    def decisions(self, model: str, limit: int) -> list[DecisionRow]:
        """The newest decisions about a model, at most `limit` (-1: all), oldest first."""
        sql = "SELECT * FROM decisions WHERE model = ? ORDER BY number DESC LIMIT ?"
        return self._database.read(
            lambda db: [decision_row(row) for row in db.execute(sql, (model, limit))][::-1]
        )

    def decisions_of(self, model: str, kind: str) -> list[DecisionRow]:
        """All decisions of one kind about a model, oldest first."""
        sql = "SELECT * FROM decisions WHERE model = ? AND kind = ? ORDER BY number"
        return self._database.read(
            lambda db: [decision_row(row) for row in db.execute(sql, (model, kind))]
        )

    def check_free(self, name: str) -> None:
        """Raises ModelExists if a model of that name is or was in use."""
        self._database.read(lambda db: _check_free(db, name))

    def create_model(
        self,
        name: str,
        encoder_digest: str,
        *,
        closed_labels: bool,
        declared_labels: tuple[str, ...],
        own_head_version: int = 0,
    ) -> Future[ModelRow]:
        """Records a new model, not active yet; the future raises ModelExists if it ever was."""
        labels = json.dumps(declared_labels)

        def create(db: apsw.Connection) -> ModelRow:
            _check_free(db, name)
            # A creation that was interrupted before its first version served leaves rows behind.
            db.execute("DELETE FROM versions WHERE model = ?", (name,))
            db.execute(
                "INSERT OR REPLACE INTO models (name, encoder_digest, created, closed_labels,"
                " declared_labels, own_head_version) VALUES (?, ?, ?, ?, ?, ?)",
                (name, encoder_digest, time.time(), closed_labels, labels, own_head_version),
            )
            return row_of(db, name)

        return self._database.write(create)

    def delete_model(self, name: str, decision: DecisionRow) -> Future[None]:
        """Records that a model is gone for good."""

        def delete(db: apsw.Connection) -> None:
            db.execute("UPDATE models SET deleted = 1 WHERE name = ?", (name,))
            record_decision(db, decision)

        return self._database.write(delete)

    def add_version(self, row: VersionRow, decision: DecisionRow) -> Future[None]:
        """Records a version whose files are written and verified, with its decision."""

        def add(db: apsw.Connection) -> None:
            insert_version(db, row)
            record_decision(db, decision)

        return self._database.write(add)

    def activate(
        self,
        model: str,
        version: int,
        decision: DecisionRow,
        pins: Pins | None = None,
        with_it: WithIt = nothing,
    ) -> Future[ModelRow]:
        """Moves the active pointer: the commit point of every promotion and rollback.

        Args:
            model: Whose.
            version: Recorded version that serves from now on.
            decision: Why.
            pins: Given by a rollback: learning is paused there.
            with_it: What else is on record then, or nothing of it all.
        """

        def move(db: apsw.Connection) -> ModelRow:
            with_it(db)
            state = "UPDATE versions SET state = ? WHERE model = ? AND"
            retired, active = int(VersionState.RETIRED), int(VersionState.ACTIVE)
            db.execute(f"{state} state = ?", (retired, model, active))
            db.execute(f"{state} version = ?", (active, model, version))
            db.execute(
                "UPDATE models SET active_version = ?, encoder_digest = (SELECT encoder_digest"
                " FROM versions WHERE model = ? AND version = ?) WHERE name = ?",
                (version, model, version, model),
            )
            db.execute(FOLLOW_OWN_HEAD, (model, version, version, model))
            if pins is not None:
                _pin(db, model, pins)
            record_decision(db, decision)
            return row_of(db, model)

        return self._database.write(move)

    def pause(self, model: str, decision: DecisionRow, pins: Pins) -> Future[ModelRow]:
        """Records that learning stops at what serves."""

        def pause(db: apsw.Connection) -> ModelRow:
            _pin(db, model, pins)
            record_decision(db, decision)
            return row_of(db, model)

        return self._database.write(pause)

    def resume(self, model: str, decision: DecisionRow) -> Future[ModelRow]:
        """Records that learning goes on and nothing is under suspicion any more."""

        def resume(db: apsw.Connection) -> ModelRow:
            _pin(db, model, Pins(0, 0), paused=False)
            record_decision(db, decision)
            return row_of(db, model)

        return self._database.write(resume)

    def set_version_state(
        self, model: str, version: int, state: VersionState, decision: DecisionRow
    ) -> Future[None]:
        """Records what became of a version."""

        def change(db: apsw.Connection) -> None:
            sql = "UPDATE versions SET state = ? WHERE model = ? AND version = ?"
            db.execute(sql, (int(state), model, version))
            record_decision(db, decision)

        return self._database.write(change)

    def taint(self, model: str, from_position: int, deletion_position: int) -> Future[list[int]]:
        """Marks the versions that had learned what was deleted; returns their numbers.

        Args:
            model: Whose.
            from_position: Lowest log position that was deleted.
            deletion_position: Log position of the deletion.
        """
        # A version at or past the deletion was learned without it.
        where = "model = ? AND log_position >= ? AND log_position < ? AND tainted_position = 0"

        def taint(db: apsw.Connection) -> list[int]:
            bindings = (model, from_position, deletion_position)
            sql = f"SELECT version FROM versions WHERE {where} ORDER BY version"
            numbers = [int(row[0]) for row in db.execute(sql, bindings)]
            sql = f"UPDATE versions SET tainted_position = ? WHERE {where}"
            db.execute(sql, (deletion_position, *bindings))
            return numbers

        return self._database.write(taint)

    def remove_versions(
        self, model: str, gone: Mapping[int, int], decision: DecisionRow
    ) -> Future[None]:
        """Records that files are to go; do that after it. `gone`: a deletion for each version."""
        taint = "CASE tainted_position WHEN 0 THEN ? ELSE tainted_position END"
        sql = f"UPDATE versions SET removed = 1, tainted_position = {taint}"

        def remove(db: apsw.Connection) -> None:
            rows = [(position, model, number) for number, position in gone.items()]
            db.executemany(f"{sql} WHERE model = ? AND version = ?", rows)
            record_decision(db, decision)

        return self._database.write(remove)

    def set_integers(
        self, model: str, encoder_digest: str, evidence: Evidence, decision: DecisionRow
    ) -> Future[ModelRow]:
        """Records what was found about a model's answers in integers over an encoder."""

        def change(db: apsw.Connection) -> ModelRow:
            sql = "UPDATE models SET integers_encoder = ?, integers = ? WHERE name = ?"
            db.execute(sql, (encoder_digest, json.dumps(asdict(evidence)), model))
            record_decision(db, decision)
            return row_of(db, model)

        return self._database.write(change)

    def record(self, decision: DecisionRow) -> Future[None]:
        """Records a decision that changes nothing else."""
        return self._database.write(lambda db: record_decision(db, decision))

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


def _check_free(db: apsw.Connection, name: str) -> None:
    old = find(db, name)
    if old is not None and (old.deleted or old.active_version):
        state = "was deleted; its name is not free again" if old.deleted else "exists"
        raise ModelExists(f"model {name!r} {state}; choose another name")


def _pin(db: apsw.Connection, model: str, pins: Pins, *, paused: bool = True) -> None:
    db.execute(
        "UPDATE models SET paused = ?, pin_version = ?, pin_revision = ?, suspect_from = ?,"
        " suspect_to = ? WHERE name = ?",
        (paused, pins.version, pins.revision, pins.suspect_from, pins.suspect_to, model),
    )
