"""Makes the record of a decision, ready for the registry."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from honed_server.models.registry import DecisionRow


def decision(
    model: str,
    kind: str,
    outcome: str,
    *,
    actor: str,
    reason: str,
    version: int = 0,
    numbers: Mapping[str, Any] | None = None,
) -> DecisionRow:
    """A decision made now, ready for the registry."""
    return DecisionRow(
        decision_id=uuid.uuid4().hex,
        model=model,
        kind=kind,
        outcome=outcome,
        version=version,
        actor=actor,
        reason=reason,
        numbers=dict(numbers or {}),
        time=time.time(),
    )
