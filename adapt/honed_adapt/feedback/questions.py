"""Questions to the feedback log about answers that were labelled, and about who labels.

Where it stands in the journey: under `log.py`, for the review queue, drift and suspects.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from honed_adapt.feedback.rows import IS_LABEL
from honed_adapt.feedback.values import Kind, State

# A label that says something of an answer: it is neither withdrawn nor excluded nor refused.
_STANDS = f"""
    e.model = ? AND {IS_LABEL} AND e.deleted_position IS NULL AND e.mark = {State.ACTIVE}
    AND NOT EXISTS (
        SELECT 1 FROM log r WHERE r.retracts = e.position AND r.deleted_position IS NULL
    )
"""
_IS_LISTED = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer that was labelled.

    Attributes:
        position: Of the label in the log.
        kind: What the label says.
        right: Whether the answer was the label.
    """

    position: int
    kind: Kind
    right: bool


@dataclass(frozen=True, slots=True)
class Treatment:
    """What became of a submitter's labels.

    Attributes:
        quarantined: Labels in quarantine.
        capped_share: Share of the submitted weight that the influence cap took, 0 to 1.
    """

    quarantined: int
    capped_share: float


def answers(db: apsw.Connection, model: str, kinds: Sequence[Kind], limit: int) -> list[Labelled]:
    """The newest labels of these kinds about known answers, at most `limit`, in log order."""
    sql = f"""
        SELECT e.position, e.kind, e.label = e.predicted_label FROM log e
        WHERE {_STANDS} AND e.predicted_label <> '' AND e.kind {_IS_LISTED}
        ORDER BY e.position DESC LIMIT ?
    """
    rows = list(db.execute(sql, (model, json.dumps([int(kind) for kind in kinds]), limit)))
    return [Labelled(position, Kind(kind), bool(right)) for position, kind, right in rows[::-1]]


def labelled_texts(db: apsw.Connection, model: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Those hashes of texts that have a label."""
    sql = f"""
        SELECT DISTINCT e.text_hash FROM log e
        WHERE {_STANDS} AND e.text_hash IN (SELECT unhex(value) FROM json_each(?))
    """
    wanted = json.dumps([digest.hex() for digest in hashes])
    return {bytes(row[0]) for row in db.execute(sql, (model, wanted))}


def audited(db: apsw.Connection, model: str, prediction_ids: Sequence[str]) -> set[str]:
    """Those answers that were audited, whatever became of the label."""
    sql = f"""
        SELECT DISTINCT e.prediction_id FROM log e
        WHERE e.model = ? AND e.kind = {Kind.AUDIT} AND e.prediction_id {_IS_LISTED}
    """
    return {str(row[0]) for row in db.execute(sql, (model, json.dumps(list(prediction_ids))))}


def treatments(db: apsw.Connection, model: str) -> dict[str, Treatment]:
    """What became of the labels of each submitter."""
    sql = f"""
        SELECT e.submitter, sum(e.mark = {State.QUARANTINED}),
            1 - sum(e.weight * e.influence) / sum(e.weight)
        FROM log e WHERE e.model = ? AND {IS_LABEL} AND e.deleted_position IS NULL
        GROUP BY e.submitter
    """
    return {
        str(name): Treatment(int(quarantined), max(0.0, float(capped)))
        for name, quarantined, capped in db.execute(sql, (model,))
    }
