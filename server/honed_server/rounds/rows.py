"""Fine-tuning rounds on record: the rows of their table in registry.sqlite as values.

Under `rounds.py`, which decides about them.
"""

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import apsw

from honed_adapt.storage.sqlite import Database
from honed_server.models.registry_rows import DecisionRow, record_decision


class RoundState(IntEnum):
    """Where a round stands; the numbers of the proto's Round.State."""

    QUEUED = 1
    TRAINING = 2
    CHECKING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6


ACTIVE = (RoundState.QUEUED, RoundState.TRAINING, RoundState.CHECKING)


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A round on record.

    Attributes:
        base_encoder: The champion's encoder when it was asked for.
        encoder_digest: What came out, empty while nothing has.
        versions: The version that a model's candidate became, by name of the model.
        ended: Unix seconds, 0 while it has not.
    """

    round_id: str
    models: tuple[str, ...]
    state: RoundState
    kind: str
    trigger: str
    created: float
    seed: int
    trials: int
    base_encoder: str
    encoder_digest: str = ""
    versions: Mapping[str, int] = field(default_factory=dict)
    ended: float = 0.0
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE


class RoundStore:
    """Keeps rounds. Reads answer at once; writes return futures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[RoundRow]:
        """All rounds, oldest first."""
        sql = "SELECT * FROM rounds ORDER BY number"
        return self._database.read(lambda db: [_row(row) for row in db.execute(sql)])

    def put(self, row: RoundRow, *decisions: DecisionRow) -> Future[None]:
        """Records a round as it stands now, with the decisions about it."""
        values = (
            row.round_id, json.dumps(row.models), int(row.state), row.kind, row.trigger,
            row.created, row.seed, row.trials, row.base_encoder, row.encoder_digest,
            json.dumps(dict(row.versions)), row.ended, row.reason, json.dumps(dict(row.metrics)),
        )  # fmt: skip
        sql = (
            "INSERT INTO rounds (round_id, models, state, kind, trigger, created, seed, trials,"
            " base_encoder, encoder_digest, versions, ended, reason, metrics)"
            f" VALUES ({','.join('?' * len(values))})"
            " ON CONFLICT (round_id) DO UPDATE SET state = excluded.state,"
            " encoder_digest = excluded.encoder_digest, versions = excluded.versions,"
            " ended = excluded.ended, reason = excluded.reason, metrics = excluded.metrics"
        )

        def put(db: apsw.Connection) -> None:
            db.execute(sql, values)
            for decision in decisions:
                record_decision(db, decision)

        return self._database.write(put)


def _row(row: tuple[Any, ...]) -> RoundRow:
    _, round_id, models, state, kind, trigger, created, seed, trials, base, digest, *rest = row
    versions, ended, reason, metrics = rest
    return RoundRow(
        round_id, tuple(json.loads(models)), RoundState(state), kind, trigger, created, seed,
        trials, base, digest, json.loads(versions), ended, reason, json.loads(metrics),
    )  # fmt: skip
