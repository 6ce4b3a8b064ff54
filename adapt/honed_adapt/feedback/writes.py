"""What the feedback log's writer thread does inside a transaction: record and mark.

Where it stands in the journey: `log.py` hands these to `Database.write`.
"""

import json
import secrets
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import apsw

from honed_adapt.feedback import keys
from honed_adapt.feedback import rows as feedback_rows
from honed_adapt.feedback.values import (
    KEY_OF_DELETED,
    KEY_TAKEN,
    Ack,
    FeedbackError,
    KeyConflict,
    Kind,
    NewFeedback,
    State,
    UnknownFeedback,
    text_hash,
)
from honed_adapt.shares import as_text
from honed_adapt.trust.influence import Cap, Recent, influence

_INSERT = """
    INSERT INTO log (feedback_id, model, kind, idempotency_key, content_hash, text, text_hash,
        label, submitter, weight, event_time, recorded_time, prediction_id, predicted_label,
        predicted_version, predicted_revision, retracts, influence, shares)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_OWN = """
    INSERT INTO log
        (feedback_id, model, kind, submitter, weight, event_time, recorded_time, decision_id)
    VALUES (?, ?, ?, ?, 0, ?, ?, ?)
"""
_NOTICED = f"""
    SELECT submitter, weight * influence, recorded_time FROM log
    WHERE model = ? AND {feedback_rows.NOTICED_LABEL} ORDER BY position DESC
"""
_MARK = f"""
    UPDATE log AS e SET mark = CASE ?1 WHEN {State.ACTIVE} THEN ?1 ELSE max(mark, ?1) END,
        decision_id = ?2
    WHERE position IN (SELECT value FROM json_each(?3))
        AND deleted_position IS NULL AND {feedback_rows.IS_LABEL}
"""


def record(
    connection: apsw.Connection, items: Sequence[NewFeedback], cap: Cap, now: float
) -> list[Ack | FeedbackError]:
    """Record items one by one; for each: that, or that it had been recorded, or why it cannot be.

    Args:
        connection: The log.
        items: What to record.
        cap: How much one submitter may weigh.
        now: The time of recording, Unix seconds.
    """
    recent: dict[str, Recent] = {}
    secret = keys.secret(connection)
    results: list[Ack | FeedbackError] = []
    for item in items:
        if item.model not in recent:
            recent[item.model] = _recent(connection, item.model, cap, now)
        results.append(_record(connection, item, secret, recent[item.model], cap, now))
    return results


def _record(
    connection: apsw.Connection,
    item: NewFeedback,
    secret: bytes,
    recent: Recent,
    cap: Cap,
    now: float,
) -> Ack | FeedbackError:
    found = connection.execute(
        "SELECT feedback_id, position, content_hash, deleted_position FROM log"
        " WHERE model = ?1 AND (idempotency_key = ?2 OR key_seal = ?3)",
        (item.model, item.idempotency_key, keys.seal(secret, item.model, item.idempotency_key)),
    ).fetchone()
    content_hash = item.content_hash()
    if found is not None:
        feedback_id, position, recorded_hash, deleted = found
        if recorded_hash == content_hash and not deleted:
            return Ack(feedback_id, position, already_recorded=True)
        return _conflict(item, deleted=bool(deleted))
    retracted = None
    counts = 1.0
    if item.kind is Kind.RETRACTION:
        retracted = _retractable(connection, item)
        if retracted is None:
            return _unknown(item.model, item.retracts)
    else:
        counts = influence(item.submitter, item.weight, recent, cap)
        recent.notice(item.submitter, item.weight * counts)
    return _insert(connection, item, content_hash, retracted, counts, now)


def _recent(connection: apsw.Connection, model: str, cap: Cap, now: float) -> Recent:
    """The labels of a model that the next one is measured against, also those deleted since."""
    if cap.share >= 1:
        return Recent({}, 0)
    with closing(connection.execute(_NOTICED, (model,))) as labels:
        return Recent.of(labels, now, cap)


def mark(
    connection: apsw.Connection, positions: Sequence[int], state: State, decision_id: str
) -> int:
    """Mark undeleted labels; a quarantine never lifts an exclusion. Returns how many."""
    connection.execute(_MARK, (int(state), decision_id, json.dumps(list(positions))))
    return connection.changes()


def _insert(
    connection: apsw.Connection,
    item: NewFeedback,
    content_hash: bytes,
    retracted: int | None,
    counts: float,
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
        counts,
        as_text(item.shares),
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


def set_aside(
    connection: apsw.Connection, model: str, positions: Sequence[int], decision_id: str, now: float
) -> int:
    """Put labels into quarantine from a new entry on, which names them. Returns its position."""
    mark(connection, positions, State.QUARANTINED, decision_id)
    return add_own(connection, model, Kind.DISTRUST, "trust", now, decision_id)


def forget_texts(connection: apsw.Connection, before: float, limit: int) -> int:
    """Blank the oldest texts recorded before a time; labels stay. Returns how many."""
    sql = f"""
        UPDATE log SET text = NULL WHERE position IN (
            SELECT position FROM log e WHERE recorded_time < ? AND text IS NOT NULL
            AND {feedback_rows.IS_LABEL} AND deleted_position IS NULL LIMIT ?
        )
    """
    connection.execute(sql, (before, limit))
    return connection.changes()


def add_own(
    connection: apsw.Connection,
    model: str,
    kind: Kind,
    who: str,
    now: float,
    decision_id: str | None = None,
) -> int:
    """Add an entry of the log's own. Returns its position."""
    connection.execute(_INSERT_OWN, (_new_id(now), model, int(kind), who, now, now, decision_id))
    return connection.last_insert_rowid()


def _new_id(now: float) -> str:
    """Ordered by time to the millisecond; 76 random bits make it unique and hard to guess."""
    return f"f{int(now * 1000):012x}{secrets.randbits(76):019x}"


def _conflict(item: NewFeedback, *, deleted: bool) -> KeyConflict:
    key = f"idempotency key {item.idempotency_key!r} of model {item.model!r}"
    if deleted:
        return KeyConflict(f"{key} belongs to deleted feedback", KEY_OF_DELETED)
    return KeyConflict(f"{key} was used for other content", KEY_TAKEN)


def _unknown(model: str, feedback_id: str) -> UnknownFeedback:
    return UnknownFeedback(f"model {model!r} has no label {feedback_id!r} to withdraw")
