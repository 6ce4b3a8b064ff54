"""The tables of feedback.sqlite and how their rows become values.

Where it stands in the journey: the one place that knows the columns, under `log.py` (which
writes them) and `reader.py` (which follows them from the adapt process).

No row is ever removed and no state is stored twice: an entry is deleted if it names the deletion
that erased it, and retracted if an undeleted retraction names it. Deleted text is set to NULL
rather than removed with its row, because removing rows makes SQLite move their neighbours, and the
places that those leave are not always wiped, even with `secure_delete`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from honed_adapt.feedback import keys
from honed_adapt.feedback.values import Entry, Kind, Record, State
from honed_adapt.shares import from_text
from honed_adapt.trust.influence import NOTICED

_LABEL_KINDS = f"({Kind.CORRECTION}, {Kind.CONFIRMATION}, {Kind.AUDIT})"
_NOTICED = f"submitter <> '' AND weight * influence > {NOTICED}"
# Labels that others are measured against, see `influence.py`, and those of them that tell who
# audits. Indexed: no value here may change.
NOTICED_LABEL = f"kind IN {_LABEL_KINDS} AND {_NOTICED}"
NAMED_AUDIT = f"kind = {Kind.AUDIT} AND {_NOTICED}"

SCHEMA = (
    """
    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        feedback_id TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        kind INTEGER NOT NULL,
        idempotency_key TEXT,
        content_hash BLOB,
        text TEXT,
        text_hash BLOB,
        label TEXT,
        submitter TEXT NOT NULL,
        weight REAL NOT NULL,
        event_time REAL NOT NULL,
        recorded_time REAL NOT NULL,
        prediction_id TEXT,
        predicted_label TEXT,
        predicted_version INTEGER,
        predicted_revision INTEGER,
        retracts INTEGER REFERENCES log (position),
        mark INTEGER NOT NULL DEFAULT 1,
        decision_id TEXT,
        deleted_position INTEGER REFERENCES log (position)
    ) STRICT;
    CREATE UNIQUE INDEX log_key ON log (model, idempotency_key);
    CREATE INDEX log_model ON log (model, position);
    CREATE INDEX log_text ON log (model, text_hash);
    CREATE INDEX log_retracts ON log (retracts) WHERE retracts IS NOT NULL;
    CREATE INDEX log_deleted ON log (deleted_position) WHERE deleted_position IS NOT NULL;
    CREATE TABLE anchor_sets (model TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
    CREATE TABLE anchors (
        anchor INTEGER PRIMARY KEY,
        model TEXT NOT NULL,
        text_hash BLOB NOT NULL,
        text TEXT NOT NULL,
        label TEXT NOT NULL,
        UNIQUE (model, text_hash)
    ) STRICT;
    """,
    f"""
    ALTER TABLE log ADD COLUMN influence REAL NOT NULL DEFAULT 1;
    CREATE INDEX log_unblanked ON log (deleted_position)
        WHERE deleted_position IS NOT NULL AND content_hash IS NOT NULL;
    CREATE INDEX log_decision ON log (decision_id) WHERE decision_id IS NOT NULL;
    CREATE TABLE deletions (
        position INTEGER PRIMARY KEY REFERENCES log (position),
        model TEXT NOT NULL,
        submitter TEXT NOT NULL,
        first_position INTEGER NOT NULL,
        served_revision INTEGER NOT NULL DEFAULT 0,
        difference REAL
    ) STRICT;
    INSERT INTO deletions (position, model, submitter, first_position)
        SELECT d.position, d.model, '', min(e.position) FROM log d
        JOIN log e ON e.deleted_position = d.position WHERE d.kind = {Kind.DELETION}
        GROUP BY d.position;
    """,
    keys.SCHEMA,
    "ALTER TABLE log ADD COLUMN shares TEXT;",
    f"""
    CREATE INDEX log_audits ON log (model, position)
        WHERE kind = {Kind.AUDIT} AND submitter <> '' AND influence > 0.015;
    """,
    f"CREATE INDEX log_noticed ON log (model, position) WHERE {NOTICED_LABEL};",
    f"""
    DROP INDEX log_audits;
    CREATE INDEX log_audits ON log (model, position) WHERE {NAMED_AUDIT};
    """,
)

# State, by precedence. `mark` holds ACTIVE, QUARANTINED or EXCLUDED.
_STATE = f"""
    CASE WHEN e.deleted_position IS NOT NULL THEN {State.DELETED}
    WHEN EXISTS (SELECT 1 FROM log r WHERE r.retracts = e.position AND r.deleted_position IS NULL)
    THEN {State.RETRACTED} ELSE e.mark END
"""
_RECORD = f"""
    SELECT e.feedback_id, e.position, e.idempotency_key, e.prediction_id, e.text, e.label, e.kind,
        e.submitter, e.weight, e.event_time, e.recorded_time, {_STATE}, e.predicted_label,
        e.predicted_version, e.predicted_revision, t.feedback_id, d.position, d.submitter,
        d.recorded_time, e.influence, e.text_hash, e.shares
    FROM log e LEFT JOIN log t ON t.position = e.retracts
        LEFT JOIN log d ON d.position = e.deleted_position
"""
# The same as it was at a log position, but for deletions: what they erased is gone.
_STATE_THEN = f"""
    CASE WHEN e.deleted_position IS NOT NULL THEN {State.DELETED}
    WHEN EXISTS (
        SELECT 1 FROM log r WHERE r.retracts = e.position AND r.position <= :retracted_to
        AND (r.deleted_position IS NULL OR r.deleted_position > :deleted_to)
    )
    THEN {State.RETRACTED} ELSE e.mark END
"""
_ENTRY = f"""
    SELECT e.position, e.feedback_id, e.model, e.kind, e.text, e.text_hash, e.label, e.submitter,
        e.weight * e.influence, {_STATE_THEN}, e.retracts, e.decision_id, e.deleted_position,
        e.shares
    FROM log e
"""
IS_LABEL = f"e.kind IN {_LABEL_KINDS}"
IS_SUBMITTED = f"e.kind > {Kind.DELETION}"


def records(
    connection: apsw.Connection, where: str, bindings: Sequence[Any], limit: int = -1
) -> list[Record]:
    """Submitted entries and tombstones that fit `where` (over `log e`), in log order."""
    sql = f"{_RECORD} WHERE {IS_SUBMITTED} AND {where} ORDER BY e.position LIMIT {limit:d}"
    return [_record(row) for row in connection.execute(sql, bindings)]


def entries(
    connection: apsw.Connection,
    where: str,
    bindings: Mapping[str, Any],
    retracted_to: int,
    deleted_to: int,
) -> list[Entry]:
    """Entries that fit `where` (over `log e`), in log order, deletions with what they erased.

    Args:
        connection: The log.
        where: SQL with named parameters.
        bindings: Their values.
        retracted_to: Retractions past this position have not happened yet.
        deleted_to: Deletions of retractions past this position have not happened yet.
    """
    sql = f"{_ENTRY} WHERE {where} ORDER BY e.position"
    then = {"retracted_to": retracted_to, "deleted_to": deleted_to}
    return [_entry(connection, row) for row in connection.execute(sql, {**bindings, **then})]


def positions(connection: apsw.Connection, where: str, bindings: Sequence[Any]) -> list[int]:
    """Positions of the entries that fit `where` (over `log e`), in log order."""
    sql = f"SELECT e.position FROM log e WHERE {where} ORDER BY e.position"
    found: list[Any] = connection.execute(sql, bindings).fetchall()
    return [int(position) for (position,) in found]


def anchors(connection: apsw.Connection, model: str) -> list[tuple[str, str]]:
    """The anchor set of a model, (text, label) in the order of their first import."""
    sql = "SELECT text, label FROM anchors WHERE model = ? ORDER BY anchor"
    return [(text, label) for text, label in connection.execute(sql, (model,))]


def _record(row: Sequence[Any]) -> Record:
    # What is deleted is blanked in steps; until its turn it is as if it were.
    text_of = _nothing if row[16] else _same
    return Record(
        feedback_id=row[0],
        position=row[1],
        idempotency_key=text_of(row[2]) or "",
        prediction_id=text_of(row[3]) or "",
        text=text_of(row[4]) or "",
        label=text_of(row[5]) or "",
        kind=Kind(row[6]),
        submitter=row[7],
        weight=row[8],
        event_time=row[9],
        recorded_time=row[10],
        state=State(row[11]),
        predicted_label=text_of(row[12]) or "",
        predicted_version=text_of(row[13]) or 0,
        predicted_revision=text_of(row[14]) or 0,
        retracts=row[15] or "",
        deleted_position=row[16] or 0,
        deleted_by=row[17] or "",
        deleted_time=row[18] or 0.0,
        influence=row[19],
        text_hash=text_of(row[20]) or b"",
        shares=from_text(text_of(row[21])),
    )


def _same(value: Any) -> Any:
    return value


def _nothing(_value: Any) -> None:
    return None


def _entry(connection: apsw.Connection, row: Sequence[Any]) -> Entry:
    position, kind = row[0], Kind(row[3])
    text_of = _nothing if row[12] else _same
    return Entry(
        position=position,
        feedback_id=row[1],
        model=row[2],
        kind=kind,
        text=text_of(row[4]) or "",
        text_hash=text_of(row[5]) or b"",
        label=text_of(row[6]) or "",
        submitter=row[7],
        weight=row[8],
        state=State(row[9]),
        retracts=row[10] or 0,
        deletes=_named(connection, "deleted_position", position) if kind is Kind.DELETION else (),
        sets_aside=_named(connection, "decision_id", row[11], but=position)
        if kind is Kind.DISTRUST
        else (),
        shares=from_text(text_of(row[13])),
    )


def _named(
    connection: apsw.Connection, column: str, value: int | str, but: int = 0
) -> tuple[int, ...]:
    """Positions of the entries with that value, in log order."""
    sql = f"SELECT position FROM log WHERE {column} = ? AND position <> ? ORDER BY position"
    found: list[Any] = connection.execute(sql, (value, but)).fetchall()
    return tuple(int(position) for (position,) in found)
