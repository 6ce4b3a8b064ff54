"""A fine-tuning round as callers see it, and its models as a trainer does."""

import json

from honed_adapt.gate.policy import Policy
from honed_adapt.process.messages import RoundModel, RoundProgress
from honed_proto.v1 import models_pb2 as pb
from honed_server.models.registry import ModelRow
from honed_server.rounds.rows import RoundRow


def round_message(row: RoundRow, progress: RoundProgress | None) -> pb.Round:
    """The message for a round on record and, while it trains, where it stands."""
    found = pb.Round(
        round_id=row.round_id,
        models=row.models,
        state=f"STATE_{row.state.name}",
        kind=row.kind,
        trigger=row.trigger,
        encoder_digest=row.encoder_digest,
        versions=[row.versions.get(name, 0) for name in row.models],
        reason=row.reason,
        metrics_json=json.dumps({"seed": row.seed, "trials": row.trials, **row.metrics}),
    )
    found.create_time.FromNanoseconds(int(row.created * 1e9))
    if row.ended:
        found.end_time.FromNanoseconds(int(row.ended * 1e9))
    if progress is not None:
        found.step, found.steps = progress.step, progress.steps
        found.remaining.FromNanoseconds(int(progress.remaining_s * 1e9))
    return found


def round_model(row: ModelRow, version: int, policy: Policy) -> RoundModel:
    """What a trainer must know about a model; `version` is what serves."""
    return RoundModel(
        row.name,
        version,
        row_limit=row.pin_revision if row.paused else None,
        pinned_at=row.pinned_at,
        false_alarms=policy.out_of_scope_false_alarms,
        coverage=policy.coverage,
    )
