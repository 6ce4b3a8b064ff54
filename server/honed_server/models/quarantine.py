"""Puts on record which labels the adapt process refused, before anything serves without them."""

import asyncio
from collections.abc import Sequence
from typing import Any

from honed_adapt.feedback.log import State
from honed_adapt.process import messages
from honed_proto.v1 import models_pb2 as pb
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow


async def record_quarantine(catalogue: Catalogue, entry: Entry, offer: messages.Revision) -> None:
    """Makes refusals durable before anything serves that relies on them."""
    for actor in sorted({refused.why for refused in offer.quarantined}):
        refused = [one for one in offer.quarantined if one.why == actor]
        record = _quarantine(offer.model, actor, refused)
        positions = [one.position for one in refused]
        # In this order: whoever dies in between leaves labels that are refused again, with a record
        # of their own. What is marked is not looked at again, and would stay without one.
        await asyncio.wrap_future(catalogue.registry.record(record))
        mark = catalogue.log.mark(positions, State.QUARANTINED, record.decision_id)
        await asyncio.wrap_future(mark)
        entry.quarantined.update(positions)
        catalogue.metrics.quarantined.labels(offer.model).inc(len(positions))
    if offer.quarantined:
        for hear in catalogue.on_set_aside:
            hear(entry)
        catalogue.announce(entry, pb.ModelEvent.KIND_QUARANTINED)


def _quarantine(model: str, actor: str, refused: Sequence[messages.Quarantine]) -> DecisionRow:
    numbers: dict[str, Any] = {"positions": [one.position for one in refused]}
    if actor == "guard":
        worst = min(refused, key=lambda one: one.anchor_correct)
        numbers["anchor_correct"] = worst.anchor_correct
        numbers["anchor_reference"] = worst.anchor_reference
        why = "would have cost anchor answers"
    else:
        why = "are of submitters who are not trusted"
    return decision(
        model, "quarantine", "refused", actor=actor, reason=f"{len(refused)} labels {why}",
        numbers=numbers,
    )  # fmt: skip
