"""Forgetting in the feedback log: mark at once, blank in steps, keep a record.

Where it stands in the journey: beside `writes.py`, inside the writer thread. Marking is
one transaction, however much is named, so that a deletion happens wholly or not at all: what is
marked reads as blanked. The bytes go in steps, so that labels that arrive meanwhile need not wait,
and a step that a crash prevented is made after the next start. Until an entry is blanked it tells
which answers were its own: whoever keeps these erases them first (`marked`), then the entry.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from honed_adapt.feedback import anchors, keys
from honed_adapt.feedback import rows as feedback_rows
from honed_adapt.feedback.values import (
    Deletion,
    DeletionRow,
    Kind,
    Record,
    Selector,
    UnknownFeedback,
)
from honed_adapt.feedback.writes import add_own

# Entries blanked in one transaction: some tens of milliseconds.
_BLANK_STEP = 1_000
_IS_MARKED = "deleted_position IS NOT NULL AND content_hash IS NOT NULL"
_BLANK = """
    UPDATE log SET text = NULL, text_hash = NULL, label = NULL, content_hash = NULL,
        prediction_id = NULL, predicted_label = NULL, predicted_version = NULL,
        predicted_revision = NULL, idempotency_key = NULL, shares = NULL,
        key_seal = ?
    WHERE position = ?
"""
_TO_BLANK = f"""
    SELECT position, model, idempotency_key FROM log
    WHERE position IN (SELECT value FROM json_each(?)) AND {_IS_MARKED}
"""
# One statement: row by row it takes ten times as long, and labels that arrive have to wait. No row
# may grow by it, or a page might be split and a text be left behind; the zeros are the seal's room.
_MARK = """
    UPDATE log SET deleted_position = ?, content_hash = zeroblob(16)
    WHERE position IN (SELECT value FROM json_each(?))
"""
_DELETIONS = """
    SELECT n.position, n.model, d.recorded_time, d.submitter, n.submitter, n.first_position,
        n.served_revision, n.difference
    FROM deletions n JOIN log d ON d.position = n.position
"""


@dataclass(frozen=True, slots=True)
class Marked:
    """A deleted entry whose bytes are still there: which answers were its own.

    Attributes:
        prediction_id: The answer that it was about, empty if it named none.
        text: Its text, empty if it has none.
    """

    position: int
    model: str
    prediction_id: str
    text: str


def delete(
    connection: apsw.Connection, model: str, selector: Selector, who: str, now: float
) -> Deletion:
    """Mark what is selected as deleted under one deletion entry."""
    where, bindings = _selected(model, selector)
    fresh_only = f"{where} AND e.deleted_position IS NULL"
    fresh = feedback_rows.positions(connection, fresh_only, bindings)
    position = _mark(connection, model, fresh, who, now, selector.submitter)
    tombstones = [
        _one(connection, model, feedback_id)
        or UnknownFeedback(f"model {model!r} has no label {feedback_id!r} to delete")
        for feedback_id in selector.feedback_ids or ()
    ]
    newest = connection.execute(
        f"SELECT coalesce(max(e.deleted_position), 0) FROM log e WHERE {where}", bindings
    ).get
    return Deletion(position, tombstones, min(fresh, default=0), len(fresh), int(newest))


def delete_model(connection: apsw.Connection, model: str, who: str, now: float) -> int:
    """Mark all entries of a model as deleted, and drop its anchors. Returns how many."""
    done = delete(connection, model, Selector(), who, now)
    anchors.change(connection, model, (), replace=True)
    return done.entries


def marked(connection: apsw.Connection) -> list[Marked]:
    """Some of what is marked as deleted and is not blanked yet."""
    sql = f"SELECT position, model, prediction_id, text FROM log WHERE {_IS_MARKED} LIMIT ?"
    found: list[Any] = connection.execute(sql, (_BLANK_STEP,)).fetchall()
    return [Marked(row[0], row[1], row[2] or "", row[3] or "") for row in found]


def blank(connection: apsw.Connection, positions: Sequence[int]) -> None:
    """Blank entries that are marked as deleted."""
    found: list[Any] = connection.execute(_TO_BLANK, (json.dumps(list(positions)),)).fetchall()
    secret = keys.secret(connection)
    seals = [(keys.seal(secret, model, key), position) for position, model, key in found]
    connection.executemany(_BLANK, seals)


def deletions(connection: apsw.Connection, model: str, after: int, ids: int) -> list[DeletionRow]:
    """The deletions of a model past a position, oldest first, with at most `ids` ids each."""
    sql = f"{_DELETIONS} WHERE n.model = ? AND n.position > ? ORDER BY n.position"
    rows: list[Any] = connection.execute(sql, (model, after)).fetchall()
    return [
        DeletionRow(
            position=row[0], model=row[1], time=row[2], requested_by=row[3], submitter=row[4],
            first_position=row[5], served_revision=row[6], difference=row[7],
            feedback_ids=_ids(connection, row[0], ids),
        )
        for row in rows
    ]  # fmt: skip


def note_served(connection: apsw.Connection, model: str, position: int, revision: int) -> None:
    """Note the first revision that served without what deletions up to a position erased."""
    sql = (
        "UPDATE deletions SET served_revision = ?"
        " WHERE model = ? AND position <= ? AND served_revision = 0"
    )
    connection.execute(sql, (revision, model, position))


def note_difference(connection: apsw.Connection, position: int, difference: float) -> None:
    """Note how far the lane was from a fresh build after a deletion."""
    sql = "UPDATE deletions SET difference = ? WHERE position = ?"
    connection.execute(sql, (difference, position))


def _selected(model: str, selector: Selector) -> tuple[str, Sequence[Any]]:
    """What `log e` must fulfil to be named, with its bindings."""
    where = f"e.model = ? AND {feedback_rows.IS_SUBMITTED}"
    if selector.feedback_ids is not None:
        ids = json.dumps(list(selector.feedback_ids))
        return f"{where} AND e.feedback_id IN (SELECT value FROM json_each(?))", (model, ids)
    where += " AND e.recorded_time >= ? AND e.recorded_time < ? AND ? IN ('', e.submitter)"
    until = selector.recorded_until
    # SQLite has no infinity among its literals, but it compares with one.
    bindings = (selector.recorded_from, until if until < math.inf else 1e300, selector.submitter)
    return where, (model, *bindings)


def _mark(
    connection: apsw.Connection,
    model: str,
    positions: Sequence[int],
    who: str,
    now: float,
    submitter: str,
) -> int:
    """Add a deletion entry and mark what it erases. Returns its position; 0 for nothing."""
    if not positions:
        return 0
    deletion = add_own(connection, model, Kind.DELETION, who, now)
    connection.execute(_MARK, (deletion, json.dumps(list(positions))))
    connection.execute(
        "INSERT INTO deletions (position, model, submitter, first_position) VALUES (?, ?, ?, ?)",
        (deletion, model, submitter, min(positions)),
    )
    return deletion


def _one(connection: apsw.Connection, model: str, feedback_id: str) -> Record | None:
    where = f"e.feedback_id = ? AND e.model = ? AND {feedback_rows.IS_SUBMITTED}"
    return next(iter(feedback_rows.records(connection, where, (feedback_id, model))), None)


def _ids(connection: apsw.Connection, deletion: int, limit: int) -> tuple[str, ...]:
    sql = "SELECT feedback_id FROM log WHERE deleted_position = ? ORDER BY position LIMIT ?"
    found: list[Any] = connection.execute(sql, (deletion, limit)).fetchall()
    return tuple(str(feedback_id) for (feedback_id,) in found)
