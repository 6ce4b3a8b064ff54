"""What the gate and its trials ask the feedback log: which audits count, and what they name.

Under `log.py`, beside `rows.py`, which knows the columns. Audits alone vote.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing

import apsw

from honed_adapt.feedback.rows import NAMED_AUDIT
from honed_adapt.feedback.values import Kind, State
from honed_adapt.trust.influence import Recent

_RECENT = 10_000

_COUNTING = f"""
    SELECT e.position, e.label FROM log e
    WHERE e.model = ? AND e.position IN (SELECT value FROM json_each(?))
    AND e.kind = {Kind.AUDIT} AND e.mark = {State.ACTIVE} AND e.deleted_position IS NULL
    AND e.shares IS NULL AND NOT EXISTS (
        SELECT 1 FROM log r WHERE r.retracts = e.position AND r.deleted_position IS NULL
    )
"""
# An earlier audit of a text has had its vote: a text that is sent often has no more than one.
# CROSS keeps SQLite from walking all entries of the model in the outer loop.
_KNOWN = f"""
    SELECT e.position FROM json_each(?) b
    CROSS JOIN log e ON e.position = json_extract(b.value, '$[0]')
    WHERE e.model = ? AND EXISTS (
        SELECT 1 FROM log p WHERE p.model = e.model AND p.text_hash = e.text_hash
        AND p.position < e.position
        AND (p.kind = {Kind.AUDIT} OR p.position <= json_extract(b.value, '$[1]'))
    )
"""
_LABELS = f"""
    SELECT DISTINCT label FROM (
        SELECT e.label FROM log e WHERE e.model = ? AND e.kind = {Kind.AUDIT}
        AND e.mark = {State.ACTIVE} AND e.deleted_position IS NULL AND e.shares IS NULL
        AND NOT EXISTS (
            SELECT 1 FROM log r WHERE r.retracts = e.position AND r.deleted_position IS NULL
        )
        ORDER BY e.position DESC LIMIT {_RECENT}
    )
"""
_AUDITORS = f"""
    SELECT submitter, min(weight, 1) * influence FROM log
    WHERE model = ? AND {NAMED_AUDIT} AND position < ?
    ORDER BY position DESC LIMIT {_RECENT}
"""
_SUBMITTERS = """
    SELECT position, submitter FROM log
    WHERE model = ? AND position IN (SELECT value FROM json_each(?))
"""


def counting(connection: apsw.Connection, model: str, positions: Sequence[int]) -> dict[int, str]:
    """The label by position of the audits among these that count.

    They are neither withdrawn, deleted, excluded nor in quarantine, and name one label.
    """
    found = connection.execute(_COUNTING, (model, json.dumps(list(positions))))
    return {int(position): str(label) for position, label in found}


def unknown(connection: apsw.Connection, model: str, learned: Mapping[int, int]) -> dict[int, str]:
    """The audits among these that count and whose text neither side could know when it answered.

    What had learned the text would answer from memory. A label that came after the answer says
    nothing against it: to leave out what was corrected meanwhile would leave out the errors.

    Args:
        connection: to the log.
        model: name of the model.
        learned: for each position of an audit, the log position up to which either side may have
            learned when it answered.
    """
    asked = json.dumps(list(learned.items()))
    known = {int(position) for (position,) in connection.execute(_KNOWN, (asked, model))}
    return counting(connection, model, [one for one in learned if one not in known])


def auditors(connection: apsw.Connection, model: str, position: int, weight: float) -> Recent:
    """Who gave the last audits before a position that have a name, as many as weigh so much.

    Each weighs what the cap on learning lets it count, 1 at most, so that a flood of them, however
    light or heavy, drives nobody out.
    What was withdrawn or deleted since is among them, so that the answer is always the same.
    """
    found, left = Recent({}, 0), weight
    with closing(connection.execute(_AUDITORS, (model, position))) as rows:
        for name, counts in rows:
            found.add(name, counts)
            left -= counts
            if left <= 0:
                break
    return found


def submitters(connection: apsw.Connection, model: str, positions: Sequence[int]) -> dict[int, str]:
    """Who submitted what stands at these positions, also of what is deleted; empty for nobody."""
    found = connection.execute(_SUBMITTERS, (model, json.dumps(list(positions))))
    return {int(position): str(name) for position, name in found}


def labels(connection: apsw.Connection, model: str) -> frozenset[str]:
    """The labels that recent audits of a model name."""
    return frozenset(str(label) for (label,) in connection.execute(_LABELS, (model,)))
