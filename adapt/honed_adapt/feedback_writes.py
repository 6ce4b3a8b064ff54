"""What the feedback log's writer thread does inside a transaction: record, mark and forget.

Where it stands in the journey: `feedback.py` hands these to `Database.write`.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any

import apsw

from honed_adapt import anchors, feedback_rows
from honed_adapt.feedback_values import (
    KEY_OF_DELETED,
    KEY_TAKEN,
    Ack,
    Deletion,
    FeedbackError,
    KeyConflict,
    Kind,
    NewFeedback,
    Record,
    State,
    UnknownFeedback,
    text_hash,
)

_INSERT = """
    INSERT INTO log (feedback_id, model, kind, idempotency_key, content_hash, text, text_hash,
        label, submitter, weight, event_time, recorded_time, prediction_id, predicted_label,
        predicted_version, predicted_revision, retracts)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_OWN = """
    INSERT INTO log (feedback_id, model, kind, submitter, weight, event_time, recorded_time)
    VALUES (?, ?, ?, ?, 0, ?, ?)
"""
_BLANK = """
    UPDATE log SET text = NULL, text_hash = NULL, label = NULL, content_hash = NULL,
        prediction_id = NULL, predicted_label = NULL, predicted_version = NULL,
        predicted_revision = NULL, deleted_position = ?
    WHERE position = ?
"""
_MARK = f"""
    UPDATE log AS e SET mark = CASE ?1 WHEN {State.ACTIVE} THEN ?1 ELSE max(mark, ?1) END,
        decision_id = ?2
    WHERE position IN (SELECT value FROM json_each(?3))
        AND deleted_position IS NULL AND {feedback_rows.IS_LABEL}
"""


def record(connection: apsw.Connection, item: NewFeedback, now: float) -> Ack | FeedbackError:
    """Record one item, or say that it had been recorded, or why it cannot be."""
    found = connection.execute(
        "SELECT feedback_id, position, content_hash FROM log"
        " WHERE model = ? AND idempotency_key = ?",
        (item.model, item.idempotency_key),
    ).fetchone()
    content_hash = item.content_hash()
    if found is not None:
        feedback_id, position, recorded_hash = found
        if recorded_hash == content_hash:
            return Ack(feedback_id, position, already_recorded=True)
        return _conflict(item, deleted=recorded_hash is None)
    retracted = None
    if item.kind is Kind.RETRACTION:
        retracted = _retractable(connection, item)
        if retracted is None:
            return _unknown(item.model, item.retracts)
    return _insert(connection, item, content_hash, retracted, now)


def mark(
    connection: apsw.Connection, positions: Sequence[int], state: State, decision_id: str
) -> int:
    """Mark undeleted labels; a quarantine never lifts an exclusion. Returns how many."""
    connection.execute(_MARK, (int(state), decision_id, json.dumps(list(positions))))
    return connection.changes()


def delete(
    connection: apsw.Connection, model: str, ids: Sequence[str], who: str, now: float
) -> Deletion:
    """Blank the entries of these ids under one deletion entry."""
    found = {feedback_id: _one(connection, model, feedback_id) for feedback_id in ids}
    fresh = {r.position for r in found.values() if r is not None and not r.deleted_position}
    position = _blank(connection, model, sorted(fresh), who, now)
    tombstones = [
        _one(connection, model, feedback_id) or _unknown(model, feedback_id) for feedback_id in ids
    ]
    return Deletion(position, tombstones, min(fresh, default=0))


def delete_model(connection: apsw.Connection, model: str, who: str, now: float) -> int:
    """Blank all entries of a model under one deletion entry, and its anchors. Returns how many."""
    where = f"e.model = ? AND e.deleted_position IS NULL AND {feedback_rows.IS_SUBMITTED}"
    fresh = feedback_rows.positions(connection, where, (model,))
    _blank(connection, model, fresh, who, now)
    anchors.change(connection, model, (), replace=True)
    return len(fresh)


def _insert(
    connection: apsw.Connection,
    item: NewFeedback,
    content_hash: bytes,
    retracted: int | None,
    now: float,
) -> Ack:
    feedback_id = _new_id(now)
    values: tuple[Any, ...] = (
        feedback_id,
        item.model,
        int(item.kind),
        item.idempotency_key,
        content_hash,
        item.text or None,
        text_hash(item.text) if item.text else None,
        item.label or None,
        item.submitter,
        float(item.weight),
        float(item.event_time),
        now,
        item.prediction_id or None,
        item.predicted_label or None,
        item.predicted_version or None,
        item.predicted_revision or None,
        retracted,
    )
    connection.execute(_INSERT, values)
    return Ack(feedback_id, connection.last_insert_rowid(), already_recorded=False)


def _retractable(connection: apsw.Connection, item: NewFeedback) -> int | None:
    """Position of the undeleted label of the same model that is to be withdrawn, if any."""
    where = f"""
        e.feedback_id = ? AND e.model = ? AND e.deleted_position IS NULL
        AND {feedback_rows.IS_LABEL}
    """
    found = feedback_rows.positions(connection, where, (item.retracts, item.model))
    return found[0] if found else None


def _blank(
    connection: apsw.Connection, model: str, positions: Sequence[int], who: str, now: float
) -> int:
    """Add a deletion entry and blank what it erases. Returns its position; 0 for nothing."""
    if not positions:
        return 0
    deletion = _insert_own(connection, model, Kind.DELETION, who, now)
    connection.executemany(_BLANK, [(deletion, position) for position in positions])
    return deletion


def resume(connection: apsw.Connection, model: str, who: str, now: float) -> int:
    """Add the entry from which on what counts is other than it was. Returns its position."""
    return _insert_own(connection, model, Kind.RESUMPTION, who, now)


def _insert_own(connection: apsw.Connection, model: str, kind: Kind, who: str, now: float) -> int:
    connection.execute(_INSERT_OWN, (_new_id(now), model, int(kind), who, now, now))
    return connection.last_insert_rowid()


def _one(connection: apsw.Connection, model: str, feedback_id: str) -> Record | None:
    where = "e.feedback_id = ? AND e.model = ?"
    return next(iter(feedback_rows.records(connection, where, (feedback_id, model))), None)


def _new_id(now: float) -> str:
    """Ordered by time to the millisecond; 76 random bits make it unique and hard to guess."""
    return f"f{int(now * 1000):012x}{secrets.randbits(76):019x}"


def _conflict(item: NewFeedback, *, deleted: bool) -> KeyConflict:
    key = f"idempotency key {item.idempotency_key!r} of model {item.model!r}"
    if deleted:
        return KeyConflict(f"{key} belongs to deleted feedback", KEY_OF_DELETED)
    return KeyConflict(f"{key} was used for other content", KEY_TAKEN)


def _unknown(model: str, feedback_id: str) -> UnknownFeedback:
    return UnknownFeedback(f"model {model!r} has no label {feedback_id!r} to withdraw or delete")
